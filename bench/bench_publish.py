"""What has changed of bf16 weights, found by the learner and applied by a worker, beside torch with indices and
values. One thread: the other core trains or generates."""
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

from measure import OneCore, Run, alternate, run_once
from peer_env import BenchError
from served import both
from setting import Setting

THREADS = 1
WEIGHTS, CHANGED = 134_515_008, 0.01  # of a model of 135M parameters
FEWER = 100  # times fewer bytes than the weights
APPLIED = 5e9  # bytes of weights a second, the check of the result included


def lines(setting: Setting) -> Iterator[dict]:
    for kind in ("encode", "apply"):
        yield from setting.guarded(f"publish {kind}", "torch", lambda: _line(setting, kind))


def _inputs(setting: Setting) -> Path:
    path = setting.work / "publish.safetensors"
    if not path.exists():
        run_once([*setting.peer("publish.py"), "inputs", str(path), str(WEIGHTS), str(CHANGED)], setting.log)
    return path


def _line(setting: Setting, kind: str) -> dict:
    options = {"inputs": str(_inputs(setting)), "kind": kind, "threads": THREADS}
    with ExitStack() as stack:
        stack.enter_context(OneCore())
        ours, theirs = both(setting, stack, THREADS, ("publish", options), ("publish.py", options))

        def checked() -> Run:
            run = ours.once()
            if not ours.said["right"]:
                raise BenchError("the weights that came out are not the learner's; nothing is timed", 1)
            return run

        checked(), theirs.once()
        fewer = 2 * WEIGHTS / ours.said["bytes"]
        check = (f"weights identical, {fewer:.0f}x fewer bytes than all, "
                 f"{theirs.said['bytes'] / ours.said['bytes']:.1f}x than the peer")
        timing = alternate(setting.repeats, checked, theirs.once, lambda: {"check": check})
    goal = {"goal_ms": 2e3 * WEIGHTS / APPLIED} if kind == "apply" else {}
    return {"bench": "publish", "line": kind, "peer_name": "torch", "also_missed": "" if fewer >= FEWER else "too many bytes",
            "data": f"{WEIGHTS} bf16 weights, {100 * CHANGED:g} % one unit in the last place higher or lower, one core",
            **goal, **timing}
