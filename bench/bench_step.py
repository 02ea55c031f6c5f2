"""Training steps beside TRL: DPO (`step`), and a whole job of GRPO with its rollouts (`rl`), on the same weights and
rows."""
import json
import random
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

import inputs
import shapes
from ceiling import Work, body_parameters, floor_seconds, head_parameters
from measure import alternate, steady
from peer_env import BenchError
from served import Served, both
from setting import Setting

THREADS = 2
RATE = 1e-5
PAIRS, PROMPT, ANSWER = 8, 32, 96
PROMPTS, GENERATIONS, NEW = 4, 8, 64
STEPS_COMPARED, LOSS_TOLERANCE = 4, 2e-3
GOALS = {"tiny": 10.0, "small": 3.0}
PLAN_MEMORY, PLAN_TIME = 0.2, 0.3  # how far `fulcrum plan` may be off


def lines(setting: Setting) -> Iterator[dict]:
    for shape in GOALS:
        yield from setting.guarded(f"step dpo {shape}", "trl", lambda: _dpo(setting, shape))


def rl_lines(setting: Setting) -> Iterator[dict]:
    for shape in GOALS:
        yield from setting.guarded(f"rl grpo {shape}", "trl", lambda: _grpo(setting, shape))


def _text(rng: random.Random, shape: str, tokens: int) -> str:
    return "".join(rng.choices(shapes.alphabet(shape)[:2000], k=tokens))


def _dpo(setting: Setting, shape: str) -> dict:
    rng = random.Random(1)
    rows = inputs.write_rows(setting.work / f"pairs-{shape}.jsonl", (
        {"prompt": _text(rng, shape, PROMPT), "chosen": _text(rng, shape, ANSWER - 1),
         "rejected": _text(rng, shape, ANSWER - 1)} for _ in range(PAIRS)))
    job = {"trainer": "dpo", "prompts_per_step": PAIRS, "beta": 0.1}
    with ExitStack() as stack:
        ours, peer = _sides(setting, stack, shape, rows, job, {"kind": "dpo"})
        check = _same_losses(ours, peer)
        timing = alternate(setting.repeats, steady(ours.once), steady(peer.once), lambda: {"check": check})
    tokens = PAIRS * (PROMPT + 2 * ANSWER)  # a prompt once
    floor = floor_seconds(setting, THREADS, _training(shape, tokens, PAIRS * 2 * ANSWER, passes=4))
    planned, off = _plan(setting, timing["ours"], [])
    return {"bench": "step", "line": f"dpo {shape}", "peer_name": "TRL", "goal": GOALS[shape], "floor_s": floor,
            "data": f"{PAIRS} pairs of {PROMPT} + {ANSWER} tokens, fp32, {THREADS} threads; {planned}", "also_missed": off,
            **timing}


def _plan(setting: Setting, ours: dict, options: list[str]) -> tuple[str, str]:
    """What `fulcrum plan` says of the job that was measured, over what it took; and what of it is too far off."""
    said = subprocess.run([str(setting.fulcrum), "plan", str(setting.work / "step.json"), "-o", "json", *options], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    plan = {row["part"]: row for row in json.loads(said)}
    memory = plan["peak memory"]["MiB"] / ours["peak_mib"]
    seconds = plan["step"]["seconds"] / ours["median_s"]
    off = [what for what, ratio, most in (("memory", memory, PLAN_MEMORY), ("time", seconds, PLAN_TIME)) if abs(ratio - 1) > most]
    return f"planned over real: memory {memory:.2f}, time {seconds:.2f}", f"the plan's {' and '.join(off)}" if off else ""


def _training(shape: str, tokens: float, targets: float, passes: int) -> Work:
    """Passes over the model: forward, two for the gradients, one more with a reference."""
    return Work(2.0 * passes * (body_parameters(shape) * tokens + head_parameters(shape) * targets))


def _same_losses(ours: Served, peer: Served) -> str:
    """The same pairs in every step: the losses of the first steps must agree."""
    worst = 0.0
    for _ in range(STEPS_COMPARED):
        ours.once(), peer.once()
        worst = max(worst, abs(ours.said["loss"] - peer.said["loss"]))
    if worst > LOSS_TOLERANCE:
        raise BenchError(f"the losses of the first {STEPS_COMPARED} steps differ by up to {worst:.2g}; "
                         "nothing is timed", 1)
    return f"losses of {STEPS_COMPARED} steps within {worst:.1g}"


def _grpo(setting: Setting, shape: str) -> dict:
    rng = random.Random(2)
    rows = inputs.write_rows(setting.work / f"prompts-{shape}.jsonl",
                             ({"prompt": _text(rng, shape, PROMPT)} for _ in range(64)))
    job = {"trainer": "grpo", "prompts_per_step": PROMPTS, "num_generations": GENERATIONS,
           "max_completion_length": NEW, "rollout_threads": THREADS,
           "reward_funcs": [{"name": "length", "target": 32}]}
    lengths: dict[str, list[float]] = {"ours": [], "peer": []}
    with ExitStack() as stack:
        ours, peer = _sides(setting, stack, shape, rows, job,
                            {"kind": "grpo", "prompts": PROMPTS, "generations": GENERATIONS, "new_tokens": NEW})

        def noting(name: str, side: Served, key: str):
            def once():
                run = side.once()
                lengths[name].append(side.said[key])
                return run
            return once

        ours.once(), peer.once()
        timing = alternate(setting.repeats, steady(noting("ours", ours, "completions/mean_length")),
                           steady(noting("peer", peer, "mean_length")))
    means = [sum(of) / len(of) for of in lengths.values()]
    shares = ours.said
    split = ", ".join(f"{what} {1e3 * shares.get(key, 0):.1f}" for what, key in
                      (("generate", "timing_s/gen"), ("reward", "timing_s/reward"), ("reference", "timing_s/ref"),
                       ("train", "timing_s/update_actor"), ("publish", "timing_s/update_weights")))
    made = PROMPTS * GENERATIONS * means[0]  # generating is one more pass
    floor = floor_seconds(setting, THREADS, _training(shape, PROMPTS * PROMPT + made, made, passes=4))
    planned, off = _plan(setting, timing["ours"], ["--completion-length", str(round(means[0]))])
    return {"bench": "rl", "line": f"grpo {shape}", "peer_name": "TRL", "goal": GOALS[shape], "floor_s": floor,
            "check": f"mean lengths {means[0]:.1f} / {means[1]:.1f}",
            "data": f"{PROMPTS} x {GENERATIONS}, {PROMPT} + at most {NEW} tokens, fp32, {THREADS} threads; ms of "
                    f"ours: {split}; {planned}", "also_missed": off, **timing}


def _sides(setting: Setting, stack: ExitStack, shape: str, rows: Path, job: dict,
           peer: dict) -> tuple[Served, Served]:
    model = str(shapes.model(setting, shape))
    file = setting.work / "step.json"
    file.write_text(json.dumps(job | {"model_name_or_path": model, "train_files": [str(rows)],
                                      "learning_rate": RATE, "max_steps": 100_000, "threads": THREADS,
                                      "shuffle": False, "save_steps": 0}))
    ours = {"job": str(file), "folder": str(setting.work / "step-ours")}
    theirs = peer | {"model": model, "rows": str(rows), "learning_rate": RATE, "threads": THREADS,
                     "folder": str(setting.work / "step-peer")}
    return both(setting, stack, THREADS, ("job", ours), ("trl_step.py", theirs))
