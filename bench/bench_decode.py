"""Sampled decoding beside transformers' generate and beside llama.cpp: the same weights and prompts, completions of forced
length."""
import random
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import peer_env
import shapes
from ceiling import Work, body_parameters, floor_seconds, head_parameters, measure_again
from measure import alternate, run_once, steady
from peer_env import BenchError
from served import Served, both, peer_alone
from setting import Setting

THREADS = 2


@dataclass(frozen=True)
class Peer:
    package: str
    name: str
    script: str
    suffix: str = ""  # of its lines' names


TRANSFORMERS = Peer("transformers", "transformers", "decode.py")
LLAMA = Peer(peer_env.LLAMA, "llama.cpp", "llama_decode.py", " llama.cpp")


@dataclass(frozen=True)
class Case:
    peer: Peer
    dtype: str
    shape: str
    batch: int  # sequences
    prompt: int  # tokens of each
    new: int  # tokens of each completion
    goal: float
    peer_threads: int = THREADS

    def name(self) -> str:
        return f"{self.dtype} {self.shape} B{self.batch}{self.peer.suffix}"


CACHE = 64 << 20  # bytes: weights larger than this come from memory in every step
CASES = (*(Case(TRANSFORMERS, *case) for case in (
             ("fp32", "tiny", 1, 16, 256, 20.0), ("fp32", "tiny", 16, 16, 256, 8.0),
             ("fp32", "135m", 1, 64, 64, 3.0), ("fp32", "135m", 8, 64, 64, 3.0), ("fp32", "135m", 32, 64, 64, 1.8),
             ("bf16", "tiny", 16, 16, 256, 12.0),
             ("bf16", "135m", 1, 64, 64, 3.0), ("bf16", "135m", 8, 64, 64, 3.0), ("bf16", "135m", 32, 64, 64, 1.8))),
         *(Case(LLAMA, *case) for case in (
             ("fp32", "tiny", 1, 16, 256, 1.0, 1),  # a second thread makes it slower
             ("fp32", "135m", 1, 32, 48, 1.0), ("fp32", "135m", 8, 32, 48, 1.0), ("fp32", "135m", 32, 32, 48, 1.0),
             ("bf16", "135m", 1, 32, 48, 1.0), ("bf16", "135m", 8, 32, 48, 1.0), ("bf16", "135m", 32, 32, 48, 1.0))))
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
LEAST_SHARE = 0.6  # of the memory's bandwidth, where a step reads every weight for one token
LARGEST_GAP = 0.05  # in logits: what the rounding of bf16 may cost
LOGITS_APART = 1e-4  # in fp32; with the rotary pairs mixed up they are 2e-3 apart


def lines(setting: Setting) -> Iterator[dict]:
    for case in CASES:
        yield from setting.guarded(f"decode {case.name()}", case.peer.package, lambda: _line(setting, case))


def _line(setting: Setting, case: Case) -> dict:
    rng = random.Random(case.batch)
    vocabulary = shapes.SHAPES[case.shape][5]
    prompts = [[rng.randrange(shapes.SPECIAL, vocabulary) for _ in range(case.prompt)] for _ in range(case.batch)]
    options = {"model": str(shapes.model(setting, case.shape)), "dtype": DTYPES[case.dtype], "threads": THREADS,
               "prompts": prompts, "new_tokens": case.new, "greedy": False}
    check = (_same_greedy_ids if case.dtype == "fp32" else _greedy_ids_near_the_best)(setting, case, options)
    with ExitStack() as stack:
        ours, peer = _sides(setting, stack, case, options)
        ours.once()
        theirs = steady(peer.once) if case.peer is LLAMA else peer.once  # transformers is never that short
        timing = alternate(setting.repeats, steady(ours.once), theirs, lambda: {"check": check})
    made = case.batch * case.new
    share = _memory_share(setting, case, timing["ours"]["median_s"])
    alone = "" if case.peer_threads == THREADS else f" (the peer {case.peer_threads})"
    rates = [made / timing[side]["median_s"] for side in ("ours", "peer")]
    return {"bench": "decode", "line": case.name(), "peer_name": case.peer.name, "goal": case.goal,
            "floor_s": floor_seconds(setting, THREADS, _work(case)),
            "data": f"{case.dtype}, {case.prompt} + {case.new} tokens, {THREADS} threads{alone}; tokens/s "
                    f"{rates[0]:.0f} / {rates[1]:.0f}" + (f"; {share:.2f} of what reading the weights allows" if share else ""),
            "also_missed": "memory bandwidth" if share and share < LEAST_SHARE else "", **timing}


def _memory_share(setting: Setting, case: Case, seconds: float) -> float | None:
    """The least time that reading the weights takes for each step, of ours; for a single sequence, where it is that which
    bounds a step."""
    bytes = _work(case).bytes
    if case.batch > 1 or not bytes:
        return None
    measure_again(setting, THREADS)
    return floor_seconds(setting, THREADS, Work(0.0, bytes)) / seconds


def _work(case: Case) -> Work:
    """Every token goes through the layers, the new ones through the head; what is too large for the caches is read
    once for every step."""
    body, head = body_parameters(case.shape), head_parameters(case.shape)
    weights = {"fp32": 4, "bf16": 2}[case.dtype] * (body + head)
    return Work(2 * case.batch * (body * (case.prompt + case.new) + head * case.new),
                weights * case.new if weights > CACHE else 0, case.dtype)


def _sides(setting: Setting, stack: ExitStack, case: Case, options: dict) -> tuple[Served, Served]:
    theirs = options | {"threads": case.peer_threads}
    if case.peer is LLAMA:
        theirs["model"] = _gguf(setting, options)
    return both(setting, stack, THREADS, ("decode", options), (case.peer.script, theirs))


def _gguf(setting: Setting, options: dict) -> str:
    """The same weights in llama.cpp's format."""
    peer_env.ensure_llama()
    path = Path(f"{options['model']}-{options['dtype']}.gguf")
    if not path.exists():
        run_once([*setting.peer("gguf_model.py"), options["model"], options["dtype"], str(path)], setting.log)
    return str(path)


def _greedy(setting: Setting, case: Case, options: dict) -> tuple[dict, dict, dict]:
    """Greedy completions of at most four of the prompts: the options, and what both sides said."""
    few = options | {"greedy": True, "prompts": options["prompts"][:4], "new_tokens": 16}
    with ExitStack() as stack:
        sides = _sides(setting, stack, case, few)
        for side in sides:
            side.once()
    return few, sides[0].said, sides[1].said


def _judged(setting: Setting, few: dict, *completions: list) -> dict:
    """What transformers says of them in fp32."""
    options = few | {"dtype": "float32", "judged": completions}
    with ExitStack() as stack:
        judge = peer_alone(setting, stack, THREADS, TRANSFORMERS.script, options)
        judge.once()
    return judge.said


def _same_greedy_ids(setting: Setting, case: Case, options: dict) -> str:
    """In fp32 they must be the peer's, id by id. llama.cpp's logits must be those of transformers, too: its file of the
    weights is made here, and random weights forgive much in the ids."""
    few, ours, peers = _greedy(setting, case, options)
    if ours["ids"] != peers["ids"]:
        raise BenchError("greedy completions differ from the peer's; nothing is timed", 1)
    said = f"greedy ids identical, {sum(map(len, ours['ids']))} tokens"
    if case.peer is not LLAMA:
        return said
    logits = _judged(setting, few, peers["ids"])["logits"][0]
    worst = max(abs(a - b) for row, its in zip(peers["logits"], logits) for a, b in zip(row, its))
    if worst > LOGITS_APART:
        raise BenchError(f"llama.cpp's logits are {worst:.1g} from those of transformers; nothing is timed", 1)
    return f"{said}; llama.cpp's logits within {worst:.0e} of transformers'"


def _greedy_ids_near_the_best(setting: Setting, case: Case, options: dict) -> str:
    """In bf16 two ids whose logits are closer than the rounding may change places, on either side: each id must be the
    best but for that, by the logits of transformers in fp32."""
    few, ours, peers = _greedy(setting, case, options)
    mine, theirs = _judged(setting, few, ours["ids"], peers["ids"])["gaps"]
    if mine > LARGEST_GAP:
        raise BenchError(f"a greedy id is {mine:.3f} below the best logit in fp32; nothing is timed", 1)
    return f"greedy ids within {mine:.4f} of the best fp32 logit (the peer's {theirs:.4f})"
