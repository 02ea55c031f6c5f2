"""Sampled decoding beside transformers' generate: the same weights and prompts, completions of forced length."""
import random
from contextlib import ExitStack
from typing import Iterator

import shapes
from ceiling import Work, body_parameters, floor_seconds, head_parameters
from measure import alternate
from peer_env import BenchError
from served import both
from setting import Setting

THREADS = 2
CACHE = 64 << 20  # bytes: weights larger than this come from memory in every step
# shape, sequences, tokens of a prompt, tokens of a completion, goal
LINES = (("tiny", 1, 16, 256, 20.0), ("tiny", 16, 16, 256, 8.0),
         ("135m", 1, 64, 64, 3.0), ("135m", 8, 64, 64, 3.0), ("135m", 32, 64, 64, 1.8))


def lines(setting: Setting) -> Iterator[dict]:
    for shape, batch, prompt, new, goal in LINES:
        yield from setting.guarded(f"decode {shape} B{batch}",
                                   lambda: _line(setting, shape, batch, prompt, new, goal))


def _line(setting: Setting, shape: str, batch: int, prompt: int, new: int, goal: float) -> dict:
    rng = random.Random(batch)
    vocabulary = shapes.SHAPES[shape][5]
    prompts = [[rng.randrange(shapes.SPECIAL, vocabulary) for _ in range(prompt)] for _ in range(batch)]
    options = {"model": str(shapes.model(setting, shape)), "threads": THREADS, "prompts": prompts,
               "new_tokens": new, "greedy": False}
    check = _same_greedy_ids(setting, options)
    with ExitStack() as stack:
        ours, peer = both(setting, stack, THREADS, ("decode", options), ("decode.py", options))
        timing = alternate(setting.repeats, ours.once, peer.once, lambda: {"check": check})
    made = batch * new
    rates = [made / timing[side]["median_s"] for side in ("ours", "peer")]
    return {"bench": "decode", "line": f"{shape} B{batch}", "peer_name": "transformers", "goal": goal,
            "floor_s": floor_seconds(setting, THREADS, _work(shape, batch, prompt, new)),
            "data": f"fp32, {prompt} + {new} tokens, {THREADS} threads; tokens/s {rates[0]:.0f} / {rates[1]:.0f}",
            **timing}


def _work(shape: str, batch: int, prompt: int, new: int) -> Work:
    """Every token goes through the layers, the new ones through the head; what is too large for the caches is read
    once for every step."""
    body, head = body_parameters(shape), head_parameters(shape)
    weights = 4 * (body + head)
    return Work(2 * batch * (body * (prompt + new) + head * new), weights * new if weights > CACHE else 0)


def _same_greedy_ids(setting: Setting, options: dict) -> str:
    """Greedy completions of at most four of the prompts must be the peer's, id by id."""
    few = options | {"greedy": True, "prompts": options["prompts"][:4], "new_tokens": 16}
    with ExitStack() as stack:
        sides = both(setting, stack, THREADS, ("decode", few), ("decode.py", few))
        for side in sides:
            side.once()
    ids = sides[0].said["ids"]
    if ids != sides[1].said["ids"]:
        raise BenchError("greedy completions differ from the peer's; nothing is timed", 1)
    return f"greedy ids identical, {sum(map(len, ids))} tokens"
