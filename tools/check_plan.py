#!/usr/bin/env python3
"""Compares `fulcrum plan` with runs: peak memory and the time of a step, on a few small jobs. By hand, on a machine that does
nothing else: build first, then tools/check_plan.py [BUILD]. Prints a table; exit code 1 if a number is off by more than
memory's 20 % or time's 30 %."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROGRAM = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build").resolve() / "bin/fulcrum")
MEMORY, TIME = 0.2, 0.3
STEPS = 4  # the first warms up, its time is left out

# name -> shape of the model (hidden, layers, inner, heads) and the job's keys.
GRPO = {"trainer": "grpo", "prompts_per_step": 4, "num_generations": 8, "max_completion_length": 64,
        "reward_funcs": [{"name": "length", "target": 4}], "beta": 0.04}
SFT = {"trainer": "sft", "prompts_per_step": 16}
JOBS = {
    "grpo tiny": ((128, 4, 352, 4), GRPO),
    "grpo small": ((384, 6, 1024, 6), GRPO | {"prompts_per_step": 2}),
    "grpo micro": ((256, 6, 704, 4), GRPO | {"max_tokens_per_micro_batch": 600, "num_iterations": 2}),
    "sft tiny": ((128, 4, 352, 4), SFT),
    "sft checkpointing": ((256, 8, 704, 4), SFT | {"gradient_checkpointing": True}),
    "dpo small": ((384, 6, 1024, 6), {"trainer": "dpo", "prompts_per_step": 8}),
    "tdpo": ((256, 4, 704, 4), {"trainer": "tdpo", "prompts_per_step": 8}),
}


def rows_of(trainer: str) -> list[dict]:
    text = "0123456789" * 12
    if trainer == "sft":
        return [{"text": text}] * 64
    if trainer in ("dpo", "tdpo"):
        return [{"prompt": "12+34=", "chosen": text, "rejected": text[::-1]}] * 64
    return [{"prompt": "1234567890+1234567890=", "solution": "2"}] * 64


def fulcrum(*words: str) -> str:
    return subprocess.run([PROGRAM, *words], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def run(job: pathlib.Path, out: pathlib.Path) -> tuple[float, float, int]:
    """Peak MiB; seconds of the fastest step, of the stages that a plan has; mean length of a completion."""
    pid = os.posix_spawn(PROGRAM, [PROGRAM, "run", str(job), "--output-dir", str(out)], os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{job}: the run ended with {status}")
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]
    stages = ("gen", "ref", "update_actor")
    seconds = [sum(s.get(f"timing_s/{stage}", 0) for stage in stages) for s in steps]
    lengths = [s.get("completions/mean_length", 1) for s in steps]
    return usage.ru_maxrss / 1024, min(seconds), max(1, round(statistics.mean(lengths)))


def main() -> int:
    fine = True
    print(f"{'job':20} {'MiB planned':>11} {'real':>7} {'ratio':>6}   {'s planned':>9} {'real':>7} {'ratio':>6}")
    for name, ((hidden, layers, inner, heads), keys) in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            fulcrum("init-model", str(here / "model"), "--characters", "0123456789+=", "--hidden-size", str(hidden),
                    "--layers", str(layers), "--intermediate-size", str(inner), "--heads", str(heads), "--kv-heads",
                    str(heads), "--max-positions", "512")
            (here / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows_of(keys["trainer"])))
            job = here / "job.json"
            job.write_text(json.dumps({"model_name_or_path": "model", "train_files": ["rows.jsonl"], "max_steps": STEPS,
                                       "save_steps": 0} | keys))
            memory, step, length = run(job, here / "run")
            rows = json.loads(fulcrum("plan", str(job), "-o", "json", "--completion-length", str(length)))
        plan = {row["part"]: row for row in rows}
        planned_step = plan["step"]["seconds"] - plan.get("publish", {}).get("seconds", 0)
        ratios = plan["peak memory"]["MiB"] / memory, planned_step / step
        fine = fine and abs(ratios[0] - 1) <= MEMORY and abs(ratios[1] - 1) <= TIME
        print(f"{name:20} {plan['peak memory']['MiB']:11.0f} {memory:7.0f} {ratios[0]:6.2f}   {planned_step:9.3f} {step:7.3f} "
              f"{ratios[1]:6.2f}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
