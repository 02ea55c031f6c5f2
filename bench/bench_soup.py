"""`fulcrum soup` of two checkpoints beside torch with safetensors: whole processes, the same files."""
import shutil
import struct
from json import loads
from pathlib import Path
from typing import Iterator

import shapes
from measure import OneCore, Run, alternate, run_once
from peer_env import BenchError
from setting import Setting

SHAPE, GOAL = "135m", 3.0
TOLERANCE = 2.0**-23
SAMPLE = 1 << 16  # floats of each tensor that are compared


def lines(setting: Setting) -> Iterator[dict]:
    yield from setting.guarded(f"soup {SHAPE}", "torch", lambda: _line(setting))


def _line(setting: Setting) -> dict:
    parts = [shapes.model(setting, SHAPE), shapes.model(setting, SHAPE, seed=2)]
    made, theirs = setting.work / "soup-ours", setting.work / "soup-peer"

    def fresh(command: list[str], folder: Path) -> Run:
        shutil.rmtree(folder, ignore_errors=True)
        return run_once(command, setting.log)

    ours = [str(setting.fulcrum), "soup", *map(str, parts), "--out", str(made)]
    peer = [*setting.peer("soup.py"), *map(str, parts), str(theirs)]
    with OneCore():
        timing = alternate(setting.repeats, lambda: fresh(ours, made), lambda: fresh(peer, theirs),
                           lambda: {"check": _same(made, theirs)})
    size = sum((part / "model.safetensors").stat().st_size for part in parts)
    return {"bench": "soup", "line": SHAPE, "peer_name": "torch + safetensors", "goal": GOAL,
            "data": f"mean of two fp32 checkpoints, {size / 1e6:.0f} MB read, page cache warm, 1 core; ours also "
                    "writes hashes and a manifest", **timing}


def _same(made: Path, theirs: Path) -> str:
    """The beginning of every tensor must be the peer's but for the rounding of its largest number."""
    a, b = (_Tensors(folder / "model.safetensors") for folder in (made, theirs))
    if a.names() != b.names():
        raise BenchError("the soups have different tensors; nothing is timed", 1)
    worst = 0.0
    for name in a.names():
        ours, peer = a.values(name), b.values(name)
        largest = max(map(abs, peer))
        worst = max(worst, max(abs(x - y) for x, y in zip(ours, peer)) / largest)
    if worst > TOLERANCE:
        raise BenchError(f"the soups differ by {worst:.1g} of the largest weight; nothing is timed", 1)
    return f"{len(a.names())} tensors within {worst:.0e}"


class _Tensors:
    """As much of a safetensors file of fp32 as the check needs, without the peers' packages."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb")
        length = struct.unpack("<Q", self.file.read(8))[0]
        self.header = {k: v for k, v in loads(self.file.read(length)).items() if k != "__metadata__"}
        self.begin = 8 + length

    def names(self) -> list[str]:
        return sorted(self.header)

    def values(self, name: str) -> tuple[float, ...]:
        first, last = self.header[name]["data_offsets"]
        self.file.seek(self.begin + first)
        count = min((last - first) // 4, SAMPLE)
        return struct.unpack(f"<{count}f", self.file.read(4 * count))
