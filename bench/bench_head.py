"""The output head, forward and backward: log-probs of targets (`loss`) and the exact divergence from a reference
(`divergence`), beside torch with full logits, TRL's and Liger's chunked functions and cut-cross-entropy compiled by
torch. The same inputs."""
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

from ceiling import Work, floor_seconds
from measure import alternate, run_once, steady
from peer_env import BenchError
from served import OURS, Served, both
from setting import Setting

THREADS = 2
TOKENS, HIDDEN, VOCABULARY = 1024, 576, 49152
# Of torch's memory with full logits, at most.
MEMORY = {"loss": 1 / 4, "divergence": 1 / 10}
CHUNKS = {"loss": 512, "divergence": 208}  # targets whose logits exist at a time
# Relative, of the value and of a projection of each gradient; the peers round logits and gradients to bf16.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
CCE, LIGER = "cut-cross-entropy", "liger-chunked"
# dtype, peer, its name, goal
LOSS = (("fp32", "torch", "torch", 1.1), ("fp32", "trl", "TRL chunked", 4.0), ("fp32", CCE, CCE, 1.1),
        ("fp32", LIGER, "Liger chunked", None),
        ("bf16", "torch", "torch", 1.5), ("bf16", CCE, CCE, 1.1), ("bf16", LIGER, "Liger chunked", None))
DIVERGENCE = (("fp32", "torch", "torch", 1.3), ("fp32", "trl", "TRL chunked", None), ("fp32", LIGER, "Liger chunked", None),
              ("bf16", "torch", "torch", 1.8), ("bf16", LIGER, "Liger chunked", None))
# Every generator beside one of them, on fewer targets: none may take 1.15 times as long.
MEASURE, GENERATORS = "js_divergence", ("reverse_kl", "forward_kl", "alpha_divergence", "total_variation", "chi_squared",
                                        "reverse_chi_squared", "hellinger", "jeffreys", "chi_po")
FEW, SLOWEST = 256, 1.15


def loss_lines(setting: Setting) -> Iterator[dict]:
    yield from _lines(setting, "loss", LOSS)


def divergence_lines(setting: Setting) -> Iterator[dict]:
    yield from _lines(setting, "divergence", DIVERGENCE)
    for generator in GENERATORS:
        yield from setting.guarded(f"divergence fp32 {generator}", None, lambda: _generator(setting, generator))


def _lines(setting: Setting, kind: str, peers: tuple) -> Iterator[dict]:
    for dtype, peer, name, goal in peers:
        yield from setting.guarded(f"{kind} {dtype} {peer}", peer,
                                   lambda: _line(setting, kind, dtype, peer, name, goal))


def _inputs(setting: Setting, coefficient: str = "normal") -> Path:
    """The `coefficient` of each target: normal, or ones."""
    path = setting.work / f"head-{coefficient}.safetensors"
    if not path.exists():
        run_once([*setting.peer("head.py"), "inputs", str(path), coefficient, str(TOKENS), str(HIDDEN), str(VOCABULARY)],
                 setting.log)
    return path


def _line(setting: Setting, kind: str, dtype: str, peer: str, name: str, goal: float | None) -> dict:
    # Liger's divergence is the plain mean.
    inputs = _inputs(setting, "ones" if kind == "divergence" and peer == LIGER else "normal")
    options = {"inputs": str(inputs), "kind": kind, "dtype": dtype, "divergence": "forward_kl",
               "threads": THREADS, "chunk": CHUNKS[kind], "peer": peer}
    with ExitStack() as stack:
        ours, theirs = both(setting, stack, THREADS, ("head", options), ("head.py", options))
        check = _same(ours, theirs, TOLERANCE[dtype])
        for side in (ours, theirs):
            side.forget_peak()  # the check copies gradients
        timing = alternate(setting.repeats, ours.once, theirs.once, lambda: {"check": check})
        above = [side.peak_above_ready_mib() - _gradients_mib(bytes)
                 for side, bytes in ((ours, 4), (theirs, 2 if dtype == "bf16" else 4))]
    products = 3 if kind == "loss" else 4  # of T x H x V: the logits, two gradients, the reference's logits
    floor = floor_seconds(setting, THREADS, Work(2.0 * products * TOKENS * HIDDEN * VOCABULARY, dtype=dtype))
    large = peer == "torch" and above[0] > MEMORY[kind] * above[1]
    return {"bench": kind, "line": f"{dtype} {peer}", "peer_name": name, "floor_s": floor,
            "data": f"T {TOKENS}, H {HIDDEN}, V {VOCABULARY}, {dtype}, {THREADS} threads, chunks of {CHUNKS[kind]}; MiB above "
                    f"inputs and gradients: {above[0]:.0f} / {above[1]:.0f} ({above[0] / above[1]:.3f})",
            **({"goal": goal} if goal else {}),
            "also_missed": "memory" if large else "", **timing}


def _gradients_mib(bytes: int) -> float:
    return (VOCABULARY + TOKENS) * HIDDEN * bytes / 2**20


def _generator(setting: Setting, name: str) -> dict:
    def side(stack: ExitStack, divergence: str) -> Served:
        options = {"inputs": str(_inputs(setting)), "kind": "divergence", "dtype": "fp32", "divergence": divergence,
                   "threads": THREADS, "chunk": CHUNKS["divergence"], "targets": FEW}
        return stack.enter_context(Served([str(setting.ours), "head", json.dumps(options)],
                                          setting.work / f"{divergence}.log", THREADS, OURS))

    with ExitStack() as stack:
        ours, measure = side(stack, name), side(stack, MEASURE)
        timing = alternate(setting.repeats, steady(ours.once), steady(measure.once))
    return {"bench": "divergence", "line": f"fp32 {name}", "peer_name": f"our {MEASURE}", "goal": 1 / SLOWEST, "check": "-",
            "data": f"T {FEW}, H {HIDDEN}, V {VOCABULARY}, fp32, {THREADS} threads", **timing}


def _same(ours: Served, peer: Served, tolerance: float) -> str:
    ours.once(), peer.once()
    worst = 0.0
    for key in ("value", "hidden_probe", "weight_probe"):
        a, b = ours.said[key], peer.said[key]
        worst = max(worst, abs(a - b) / max(abs(a), abs(b), 1e-12))
    if worst > tolerance:
        raise BenchError(f"value or gradients differ from the peer's by {worst:.1g}; nothing is timed", 1)
    return f"value and gradients within {worst:.0e}"
