"""How soon the programs are of use: `fulcrum --help`, and the first optimizer step of a tiny SFT job."""
import json
import os
import shutil
import time
from pathlib import Path
from typing import Iterator

import inputs
from measure import Run, alternate, median_of, run_once, spawn, wait
from setting import Setting

HELP_GOAL_MS, FIRST_STEP_GOAL = 50.0, 10.0
HELP_STARTS, JOB_STARTS = 10, 3  # starts a sample
POLL_S = 0.0005


def lines(setting: Setting) -> Iterator[dict]:
    yield from setting.guarded("start help", None, lambda: _help(setting))
    yield from setting.guarded("start first-step", "trl", lambda: _first_step(setting))


def _help(setting: Setting) -> dict:
    def start() -> Run:
        return run_once([str(setting.fulcrum), "--help"], setting.log)

    return {"bench": "start", "line": "help", "peer_name": None, "goal_ms": HELP_GOAL_MS,
            "data": f"fulcrum --help; a sample is the median of {HELP_STARTS} starts", "check": "-",
            **alternate(setting.repeats, lambda: median_of(HELP_STARTS, start))}


def _first_step(setting: Setting) -> dict:
    job = _make_job(setting)

    def ours() -> Run:
        shutil.rmtree(job.parent / "run", ignore_errors=True)
        command = [str(setting.fulcrum), "run", str(job)]
        return _time_to_first_step(setting, command, job.parent / "run" / "metrics.jsonl")

    def peer() -> Run:
        metrics = setting.work / "trl.txt"
        metrics.unlink(missing_ok=True)
        given = (job.parent / "model", job.parent / "sums.jsonl", metrics)
        return _time_to_first_step(setting, [*setting.peer("first_step.py"), *map(str, given)], metrics)

    return {"bench": "start", "line": "first-step", "peer_name": "TRL", "goal": FIRST_STEP_GOAL, "check": "-",
            "data": f"SFT, Llama L4 d128, 8 rows a step; a sample of ours is the median of {JOB_STARTS} starts",
            **alternate(setting.repeats, lambda: median_of(JOB_STARTS, ours), peer)}


def _make_job(setting: Setting) -> Path:
    model, job = setting.work / "model", setting.work / "job.json"
    shutil.rmtree(model, ignore_errors=True)
    run_once([str(setting.fulcrum), "init-model", str(model), "--characters", "0123456789+=",
              "--layers", "4", "--hidden-size", "128"], setting.log)
    inputs.write_rows(setting.work / "sums.jsonl",
                      ({"prompt": f"{i}+{i}=", "completion": str(2 * i)} for i in range(64)))
    job.write_text(json.dumps({"trainer": "sft", "model_name_or_path": "model", "train_files": ["sums.jsonl"],
                               "max_steps": 1, "prompts_per_step": 8, "output_dir": "run"}))
    return job


def _time_to_first_step(setting: Setting, command: list[str], metrics: Path) -> Run:
    """From the start of the process to the step's line in the file; CPU and memory are the run's."""
    begin = time.perf_counter()
    process = spawn(command, setting.log)
    first = None
    while first is None and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if _has_a_line(metrics):
            first = time.perf_counter() - begin
        time.sleep(POLL_S)
    run = wait(process, begin, command, setting.log)
    return Run(first or run.seconds, run.cpu_s, run.peak_mib)


def _has_a_line(path: Path) -> bool:
    try:
        return path.read_bytes().endswith(b"\n")
    except FileNotFoundError:
        return False
