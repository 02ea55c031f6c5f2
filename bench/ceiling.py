"""What the machine allows: a goal is the smaller of its figure and 85 % of the ceiling measured in the same run."""
import json
from dataclasses import dataclass

from served import Served
from setting import Setting
from shapes import SHAPES

SHARE = 0.85  # of the ceiling


@dataclass
class Work:
    """The least a line must do: operations of matrix products, and bytes read that no cache holds."""
    flops: float
    bytes: float = 0.0
    dtype: str = "fp32"


def floor_seconds(setting: Setting, threads: int, work: Work) -> float:
    peaks = _peaks(setting, threads)
    return max(work.flops / peaks[f"{work.dtype}_flops"], work.bytes / peaks["read_bytes"])


def note(setting: Setting, threads: int) -> str:
    peaks = _peaks(setting, threads)
    return (f"Ceiling, {threads} threads: {peaks['fp32_flops'] / 1e9:.0f} GFLOP/s in fp32, "
            f"{peaks['bf16_flops'] / 1e9:.0f} in bf16, {peaks['read_bytes'] / 1e9:.1f} GB/s read.")


def measure_again(setting: Setting, threads: int) -> None:
    """What a machine does at most it may not do at once: another machine's neighbours have the same memory. Called beside
    lines that are held against the floor itself."""
    before = setting.peaks.get(threads, {})
    measured = _measured(setting, threads)
    setting.peaks[threads] = {name: max(value, before.get(name, 0.0)) for name, value in measured.items()}


def _peaks(setting: Setting, threads: int) -> dict:
    if threads not in setting.peaks:
        measure_again(setting, threads)
    return setting.peaks[threads]


def _measured(setting: Setting, threads: int) -> dict:
    command = [str(setting.ours), "ceiling", json.dumps({"threads": threads})]
    with Served(command, setting.work / "ceiling.log", threads) as side:
        side.once(), side.once()
    return {name: side.said[name] for name in ("fp32_flops", "bf16_flops", "read_bytes")}


def body_parameters(shape: str) -> int:
    """Parameters of the layers' matrices: each costs two operations a token."""
    layers, hidden, heads, kv_heads, intermediate, _, _ = SHAPES[shape]
    head_dim = hidden // heads
    return layers * hidden * (2 * heads * head_dim + 2 * kv_heads * head_dim + 3 * intermediate)


def head_parameters(shape: str) -> int:
    return SHAPES[shape][1] * SHAPES[shape][5]
