"""G8: steps of a whole job with verifiable rewards (GRPO) beside TRL's trainer on the same model, tokenizer and prompts:
generate, judge, train, hand the new weights to the generator. No token ends a completion, so all have one length; about
half of them get the reward, so that there is something to learn."""
import json
import math
import random
import time
from pathlib import Path
from typing import Iterator

import shapes
from measure import Run
from peer_env import BenchError
from speed_lines import MODELS, Line, products
from target import Target, said_by

SECONDS, LEAST_SECONDS = 300, 90  # of a line; to begin one
MOST_REPEATS = 3
SPARE = 0.8  # of what is left, for the steps that are planned
RATE = 1e-5
# Nats a token between the sampler's log-probs and the learner's, both in bf16: the mean of a step.
MOST_APART = 0.05
APART = "sampling/sampling_logp_difference/"
DEVIATIONS = 5  # between the rewards of two that draw alike
PARTS = (("generate", "timing_s/gen"), ("judge", "timing_s/reward"), ("reference", "timing_s/ref"),
         ("train", "timing_s/update_actor"), ("publish", "timing_s/update_weights"))


def lines(small: bool) -> Iterator[Line]:
    model, prompts, generations, prompt, new, at_once = ("tiny", 2, 4, 8, 8, 4) if small else ("0.6b", 64, 8, 256, 512, 16)
    body, head = products(MODELS[model])
    rows = prompts * generations
    tokens, targets = prompts * prompt + rows * new, rows * new
    # The first is TRL as it is set up by default, the others are its faster and less exact ways.
    peers = [("fp32 under autocast", {}), ("bf16 weights", {"weights": "bfloat16"}),
             ("continuous batching", {"continuous_batching": True})]
    for how, options in peers[:1] if small else peers:
        yield Line("G8", f"grpo {model}, {prompts} x {generations}, {prompt}+{new}, {how}", "job", {},
                   f"{targets} tokens drawn and learnt from, one update, bf16", "trl_step.py",
                   {"kind": "grpo", "prompts": prompts, "generations": generations, "new_tokens": new,
                    "rows_at_once": at_once, "forced": True, "autocast": True} | options, f"TRL, {how}", "trl", model, 3.0,
                   # A pass to generate, three to learn.
                   flops=2.0 * 4 * (body * tokens + head * targets), bytes=2.0 * (body + head) * new,
                   prompt=prompt, seconds=SECONDS, least_seconds=20 if small else LEAST_SECONDS)


def prepare(target: Target, work: Path, line: Line, options: dict, limit: float) -> tuple[dict, dict]:
    """Options for both sides; `options` has the model and the device."""
    sizes, vocabulary = line.peer_options, MODELS[line.model]["vocab_size"]
    text, rows, job = work / f"text-{line.model}", work / "prompts.jsonl", work / "whole.json"
    if not text.exists():
        _tokenizer(target, work, text, vocabulary, limit)
    characters, draw = shapes.characters(vocabulary), random.Random(1)
    with open(rows, "w", encoding="utf-8") as out:
        for _ in range(sizes["prompts"]):  # <bos> stands in front
            made = draw.choices(characters[:2000], k=line.prompt - 1)
            out.write(json.dumps({"prompt": "".join(made)}) + "\n")
    # One of these is in a completion with a probability of about a half.
    last = characters[round(len(characters) * math.log(2) / sizes["new_tokens"]) - 1]
    pattern = f"[{characters[0]}-{last}]"
    waves = math.ceil(sizes["prompts"] * sizes["generations"] / 256)
    job.write_text(json.dumps({
        "trainer": "grpo", "model_name_or_path": options["model"], "tokenizer": str(text), "train_files": [str(rows)],
        "device": options["device"], "rollout_device": options["device"], "dtype": "bfloat16", "rollout_dtype": "bfloat16",
        "prompts_per_step": sizes["prompts"], "num_generations": sizes["generations"],
        "max_completion_length": sizes["new_tokens"], "loss_type": "dapo",
        "rollout_max_batch": sizes["prompts"] * sizes["generations"] // waves,
        "reward_funcs": [{"name": "regex", "pattern": pattern}], "learning_rate": RATE, "max_tokens_per_micro_batch": 16384,
        "logits_chunk": 4096, "threads": options["threads"], "rollout_threads": options["threads"],
        "max_steps": 100_000, "save_steps": 0, "shuffle": False}))
    theirs = {"rows": str(rows), "tokenizer": str(text), "pattern": pattern, "learning_rate": RATE,
              "folder": str(work / "whole-peer")}
    return {"job": str(job), "folder": str(work / "whole-ours")}, options | theirs | sizes


def _tokenizer(target: Target, work: Path, folder: Path, vocabulary: int, limit: float) -> None:
    """That of `fulcrum init-model` with more characters, and without a token that ends."""
    small = work / "text-small"
    said = said_by([str(target.bin / "fulcrum"), "init-model", str(small), "--characters", shapes.characters(8), "--layers",
                    "1", "--hidden-size", "8", "--heads", "1", "--kv-heads", "1", "--intermediate-size", "8"], limit,
                   target.env())
    if said.code != 0:
        raise BenchError(f"the tokenizer cannot be made: {said.last}")
    tokenizer, config = (json.loads((small / name).read_text()) for name in ("tokenizer.json", "tokenizer_config.json"))
    tokenizer["model"]["vocab"] |= {c: i + shapes.SPECIAL for i, c in enumerate(shapes.characters(vocabulary))}
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))


def same(line: Line, ours: dict, peer: dict) -> str:
    """Of one step of each. Both draw for themselves: what they draw must be alike, not the same."""
    sizes = line.peer_options
    for name, loss in (("our", ours["loss"]), ("the peer's", peer["loss"])):
        if not math.isfinite(loss):
            raise BenchError(f"{name} loss is {loss}; nothing is timed", 1)
    lengths = [ours["completions/mean_length"], peer["mean_length"]]
    if lengths != [sizes["new_tokens"]] * 2:
        raise BenchError(f"completions have {lengths[0]:g} and {lengths[1]:g} tokens, not {sizes['new_tokens']}; "
                         "nothing is timed", 1)
    rewards = [ours["reward"], peer["reward"]]
    most = DEVIATIONS * math.sqrt(0.5 / (sizes["prompts"] * sizes["generations"]))
    if not abs(rewards[0] - rewards[1]) <= most:
        raise BenchError(f"mean rewards are {rewards[0]:.3f} and {rewards[1]:.3f}, more than {most:.2f} apart; "
                         "nothing is timed", 1)
    mean, largest = ours[APART + "mean"], ours[APART + "max"]
    if not mean <= MOST_APART:
        raise BenchError(f"the sampler's log-probs are {mean:.2g} from the learner's, more than {MOST_APART:g}; "
                         "nothing is timed", 1)
    return (f"rewards {rewards[0]:.2f} / {rewards[1]:.2f}; log-probs of sampler and learner {mean:.1e} apart, "
            f"at most {largest:.1e}")


def repeats(ours: Run, peer: Run, until: float) -> int:
    """As many as there is time for, by the first step of each, which is its slowest."""
    each, left = 2 * ours.seconds + peer.seconds, until - time.monotonic()
    planned = min(MOST_REPEATS, int(SPARE * left / each))
    if planned < 1:
        raise BenchError(f"a step takes {ours.seconds:.0f} s and the peer's {peer.seconds:.0f} s: too long to time one in "
                         f"the {left:.0f} s that are left")
    return planned


def split(said: dict) -> str:
    """Of our last step."""
    spent = [(what, said.get(key, 0)) for what, key in PARTS]
    spent.append(("publish and the rest", said["seconds"] - sum(seconds for _, seconds in spent)))
    return "s of our last step: " + ", ".join(f"{what} {seconds:.3g}" for what, seconds in spent)
