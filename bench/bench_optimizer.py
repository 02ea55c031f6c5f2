"""Clipping and AdamW on the weights of the 135M shape, beside torch's clip_grad_norm_ and fused AdamW."""
from contextlib import ExitStack
from typing import Iterator

import shapes
from ceiling import Work, body_parameters, floor_seconds, head_parameters
from measure import alternate
from peer_env import BenchError
from served import Served, both
from setting import Setting

SHAPE, THREADS, GOAL = "135m", 2, 1.2
FLOATS_READ = 5  # of a weight: its gradient for the norm; gradient, weight and both moments for the update
TOLERANCE = 1e-3  # relative, of the norm and of how far the weights went in the first step: torch adds in fp32


def lines(setting: Setting) -> Iterator[dict]:
    yield from setting.guarded(f"optimizer {SHAPE}", "torch", lambda: _line(setting))


def _line(setting: Setting) -> dict:
    weights, gradients = (str(shapes.model(setting, SHAPE, seed=seed) / "model.safetensors") for seed in (1, 2))
    options = {"weights": weights, "gradients": gradients, "threads": THREADS, "learning_rate": 1e-3,
               "weight_decay": 0.01}
    with ExitStack() as stack:
        ours, theirs = both(setting, stack, THREADS, ("optimizer", options), ("optimizer.py", options))
        check = _same(ours, theirs)
        timing = alternate(setting.repeats, ours.once, theirs.once, lambda: {"check": check})
    floats = body_parameters(SHAPE) + head_parameters(SHAPE)  # the norms' are a hundredth of a percent
    return {"bench": "optimizer", "line": SHAPE, "peer_name": "torch fused", "goal": GOAL,
            "floor_s": floor_seconds(setting, THREADS, Work(0, 4.0 * FLOATS_READ * floats)),
            "data": f"{floats / 1e6:.1f}M fp32 weights, gradients clipped to norm 1, {THREADS} threads", **timing}


def _same(ours: Served, peer: Served) -> str:
    ours.once(), peer.once()
    worst = max(abs(ours.said[key] - peer.said[key]) / abs(peer.said[key]) for key in ("norm", "probe"))
    if worst > TOLERANCE:
        raise BenchError(f"norm or weights differ from the peer's by {worst:.1g}; nothing is timed", 1)
    return f"norm and weights within {worst:.0e}"
