"""`fulcrum soup` of two checkpoints beside torch with safetensors: whole processes, the same files."""
import os
import shutil
import struct
from contextlib import contextmanager
from json import loads
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Iterator

import shapes
from measure import OneCore, Run, alternate, run_once
from peer_env import BenchError
from setting import Setting

SHAPE, GOAL = "135m", 3.0
TOLERANCE = 2.0**-23
SAMPLE = 1 << 16  # floats of each tensor that are compared
MEMORY = Path("/dev/shm")


def lines(setting: Setting) -> Iterator[dict]:
    yield from setting.guarded(f"soup {SHAPE}", "torch", lambda: _line(setting))


def _line(setting: Setting) -> dict:
    models = [shapes.model(setting, SHAPE), shapes.model(setting, SHAPE, seed=2)]
    size = sum((model / "model.safetensors").stat().st_size for model in models)
    with _files(models, 2 * size) as (parts, where):
        timing = _timed(setting, parts)
    return {"bench": "soup", "line": SHAPE, "peer_name": "torch + safetensors", "goal": GOAL,
            "data": f"mean of two fp32 checkpoints, {size / 1e6:.0f} MB read, {where}, 1 core; ours also "
                    "writes hashes and a manifest", **timing}


@contextmanager
def _files(models: list[Path], needed: int) -> Iterator[tuple[list[Path], str]]:
    """The models where both sides read and write, and what to say of it: in memory where there is room, for a disk that
    others use is as fast as they let it be."""
    if not _has_room(3 * needed):  # the processes want some, too
        yield models, "files on a disk, page cache warm"
        return
    with TemporaryDirectory(prefix="fulcrum-bench-", dir=MEMORY) as folder:
        yield [Path(shutil.copytree(model, Path(folder) / model.name)) for model in models], "files in memory"


def _has_room(needed: int) -> bool:
    mounted = any(line.split()[1:3] == [str(MEMORY), "tmpfs"] for line in Path("/proc/mounts").read_text().splitlines())
    if not (mounted and os.access(MEMORY, os.W_OK)):
        return False
    available = next(1024 * int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()
                     if line.startswith("MemAvailable:"))
    return min(available, shutil.disk_usage(MEMORY).free) >= needed


def _timed(setting: Setting, parts: list[Path]) -> dict:
    made, theirs = parts[0].parent / "soup-ours", parts[0].parent / "soup-peer"

    def fresh(command: list[str], folder: Path) -> Run:
        shutil.rmtree(folder, ignore_errors=True)
        return run_once(command, setting.log)

    ours = [str(setting.fulcrum), "soup", *map(str, parts), "--out", str(made)]
    peer = [*setting.peer("soup.py"), *map(str, parts), str(theirs)]
    with OneCore():
        return alternate(setting.repeats, lambda: fresh(ours, made), lambda: fresh(peer, theirs),
                         lambda: {"check": _same(made, theirs)})


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
