"""Sampled decoding beside transformers' generate: the same weights and prompts, completions of forced length."""
import random
from contextlib import ExitStack
from typing import Iterator

import shapes
from ceiling import Work, body_parameters, floor_seconds, head_parameters
from measure import alternate, steady
from peer_env import BenchError
from served import both, peer_alone
from setting import Setting

THREADS = 2
CACHE = 64 << 20  # bytes: weights larger than this come from memory in every step
# type, shape, sequences, tokens of a prompt, tokens of a completion, goal
LINES = (("fp32", "tiny", 1, 16, 256, 20.0), ("fp32", "tiny", 16, 16, 256, 8.0),
         ("fp32", "135m", 1, 64, 64, 3.0), ("fp32", "135m", 8, 64, 64, 3.0), ("fp32", "135m", 32, 64, 64, 1.8),
         ("bf16", "tiny", 16, 16, 256, 12.0),
         ("bf16", "135m", 1, 64, 64, 3.0), ("bf16", "135m", 8, 64, 64, 3.0), ("bf16", "135m", 32, 64, 64, 1.8))
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
LARGEST_GAP = 0.05  # in logits: what the rounding of bf16 may cost


def lines(setting: Setting) -> Iterator[dict]:
    for dtype, shape, batch, prompt, new, goal in LINES:
        yield from setting.guarded(f"decode {dtype} {shape} B{batch}", "transformers",
                                   lambda: _line(setting, dtype, shape, batch, prompt, new, goal))


def _line(setting: Setting, dtype: str, shape: str, batch: int, prompt: int, new: int, goal: float) -> dict:
    rng = random.Random(batch)
    vocabulary = shapes.SHAPES[shape][5]
    prompts = [[rng.randrange(shapes.SPECIAL, vocabulary) for _ in range(prompt)] for _ in range(batch)]
    options = {"model": str(shapes.model(setting, shape)), "dtype": DTYPES[dtype], "threads": THREADS,
               "prompts": prompts, "new_tokens": new, "greedy": False}
    check = (_same_greedy_ids if dtype == "fp32" else _greedy_ids_near_the_best)(setting, options)
    with ExitStack() as stack:
        ours, peer = both(setting, stack, THREADS, ("decode", options), ("decode.py", options))
        ours.once()
        timing = alternate(setting.repeats, steady(ours.once), peer.once, lambda: {"check": check})
    made = batch * new
    rates = [made / timing[side]["median_s"] for side in ("ours", "peer")]
    return {"bench": "decode", "line": f"{dtype} {shape} B{batch}", "peer_name": "transformers", "goal": goal,
            "floor_s": floor_seconds(setting, THREADS, _work(dtype, shape, batch, prompt, new)),
            "data": f"{dtype}, {prompt} + {new} tokens, {THREADS} threads; tokens/s {rates[0]:.0f} / {rates[1]:.0f}",
            **timing}


def _work(dtype: str, shape: str, batch: int, prompt: int, new: int) -> Work:
    """Every token goes through the layers, the new ones through the head; what is too large for the caches is read
    once for every step."""
    body, head = body_parameters(shape), head_parameters(shape)
    weights = {"fp32": 4, "bf16": 2}[dtype] * (body + head)
    return Work(2 * batch * (body * (prompt + new) + head * new), weights * new if weights > CACHE else 0, dtype)


def _greedy(setting: Setting, options: dict) -> tuple[dict, list, list]:
    """Greedy completions of at most four of the prompts, by both sides."""
    few = options | {"greedy": True, "prompts": options["prompts"][:4], "new_tokens": 16}
    with ExitStack() as stack:
        sides = both(setting, stack, THREADS, ("decode", few), ("decode.py", few))
        for side in sides:
            side.once()
    return few, sides[0].said["ids"], sides[1].said["ids"]


def _same_greedy_ids(setting: Setting, options: dict) -> str:
    """In fp32 they must be the peer's, id by id."""
    _, ours, peers = _greedy(setting, options)
    if ours != peers:
        raise BenchError("greedy completions differ from the peer's; nothing is timed", 1)
    return f"greedy ids identical, {sum(map(len, ours))} tokens"


def _greedy_ids_near_the_best(setting: Setting, options: dict) -> str:
    """In bf16 two ids whose logits are closer than the rounding may change places, on either side: each id must be the
    best but for that, by the peer's logits in fp32."""
    few, ours, peers = _greedy(setting, options)
    judged = few | {"dtype": "float32", "judged": [ours, peers]}
    with ExitStack() as stack:
        judge = peer_alone(setting, stack, THREADS, "decode.py", judged)
        judge.once()
    mine, theirs = judge.said["gaps"]
    if mine > LARGEST_GAP:
        raise BenchError(f"a greedy id is {mine:.3f} below the best logit in fp32; nothing is timed", 1)
    return f"greedy ids within {mine:.4f} of the best fp32 logit (the peer's {theirs:.4f})"
