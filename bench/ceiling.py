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


def _peaks(setting: Setting, threads: int) -> dict:
    """Measured once in a run."""
    if threads not in setting.peaks:
        command = [str(setting.ours), "ceiling", json.dumps({"threads": threads})]
        with Served(command, setting.work / "ceiling.log", threads) as side:
            side.once(), side.once()
        setting.peaks[threads] = side.said
    return setting.peaks[threads]


def body_parameters(shape: str) -> int:
    """Parameters of the layers' matrices: each costs two operations a token."""
    layers, hidden, heads, kv_heads, intermediate, _, _ = SHAPES[shape]
    head_dim = hidden // heads
    return layers * hidden * (2 * heads * head_dim + 2 * kv_heads * head_dim + 3 * intermediate)


def head_parameters(shape: str) -> int:
    return SHAPES[shape][1] * SHAPES[shape][5]
