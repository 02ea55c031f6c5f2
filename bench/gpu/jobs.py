"""Every trainer's job for three steps on the device and on the CPU: the metrics of each step must be the same."""
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from target import Target, said_by

# Of a metric: |a - b| <= tolerance * max(1, |a|). In bf16 the two round at the same places but for attention.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
JOB_SECONDS = 90
AT_A_TIME = 4  # most of a tiny job is its start
# Generates on the device, too, so that rounding may decide a draw: then its metrics differ from that step on.
GENERATING = "grpo, generated there"
# What measures the machine and not the method.
IGNORED = ("timing_s/", "perf/")


def run(target: Target, work: Path, device: str, until: float, only: list[str] | None = None) -> dict:
    names = json.loads((target.pack / "manifest.json").read_text())["trainers"]
    pairs = [(name, dtype) for name in names if not only or name in only for dtype in TOLERANCE]
    pairs += [(GENERATING, "float32")] if GENERATING.split(",")[0] in names and not only else []
    with ThreadPoolExecutor(AT_A_TIME) as several:
        lines = list(several.map(lambda pair: _line(target, work, device, *pair, until), pairs))
    return {"jobs": lines, "failed": sum(line["state"] == "FAIL" for line in lines)}


def _line(target: Target, work: Path, device: str, trainer: str, dtype: str, until: float) -> dict:
    line = {"trainer": trainer, "dtype": dtype, "tolerance": TOLERANCE[dtype], "state": "FAIL", "error": None, "where": ""}
    runs = []
    for name, where in (("here", "cpu"), ("there", device)):
        folder = work / f"{trainer.replace(', ', '-').replace(' ', '-')}-{dtype}-{name}"
        limit = min(JOB_SECONDS, until - time.monotonic())
        if limit < 5:
            return _told(line | {"where": "no time was left for it"})
        place = ["--device", where] if trainer == GENERATING else ["--set", f"device={where}"]
        job = target.pack / "jobs" / f"{trainer.split(',')[0]}.json"
        said = said_by([str(target.bin / "fulcrum"), "run", str(job), *place, "--output-dir", str(folder), "--set",
                        f"dtype={dtype}"], limit, target.env(), target.pack / "jobs")
        if said.code != 0:
            return _told(line | {"where": f"on {where}: {said.last}"})
        runs.append([json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()])
    here, there = runs
    error, where = _worst(here, there)
    fallbacks = {key.split("/", 2)[2]: max(step.get(key, 0) for step in there)
                 for step in there for key in step if key.startswith("perf/fallback/")}
    return _told(line | {"error": error if math.isfinite(error) else None, "where": where,
                         "state": "ok" if error <= TOLERANCE[dtype] else "FAIL", "fallbacks": fallbacks,
                         "loss": [step.get("loss") for step in there], "steps": len(there),
                         "last_update_s": there[-1].get("timing_s/update_actor"),
                         "last_update_cpu_s": here[-1].get("timing_s/update_actor")})


def _worst(here: list[dict], there: list[dict]) -> tuple[float, str]:
    if len(here) != len(there) or not here:
        return math.inf, f"{len(there)} steps, not {len(here)}"
    worst, where = 0.0, "every metric is the same"
    for number, (a, b) in enumerate(zip(here, there), 1):
        a, b = ({key: x for key, x in step.items() if not key.startswith(IGNORED)} for step in (a, b))
        if a.keys() != b.keys():
            return math.inf, f"step {number} has other metrics: {sorted(a.keys() ^ b.keys())[:3]}"
        for key, x in a.items():
            error = apart(x, b[key])
            if error > worst:
                worst, where = error, f"{key} of step {number}: {b[key]:.6g}, on the CPU {x:.6g}"
    return worst, where


def apart(x, y) -> float:
    if x == y or isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y):
        return 0.0
    try:
        error = abs(x - y) / max(1.0, abs(x))
    except TypeError:
        return math.inf
    return error if math.isfinite(error) else math.inf


def _told(line: dict) -> dict:
    error = "-" if line["error"] is None else f"{line['error']:.2g}"
    print(f"  {line['state']:4}  {line['trainer']} in {line['dtype']}: error {error}, tolerance {line['tolerance']:g} "
          f"({line['where']})", flush=True)
    return line


def markdown(result: dict) -> str:
    rows = ["| trainer | dtype | | largest error of a metric | tolerance | last update, device / CPU | done without a kernel, most of a step |",
            "|---|---|---|---|---|---|---|"]
    for line in result["jobs"]:
        error = "-" if line["error"] is None else f"{line['error']:.1e}"
        fallbacks = ", ".join(f"{name} {count:g}" for name, count in line.get("fallbacks", {}).items() if count) or "nothing"
        both = [line.get("last_update_s"), line.get("last_update_cpu_s")]
        times = " / ".join("-" if x is None else f"{x * 1e3:.1f} ms" for x in both)
        rows.append(f"| {line['trainer']} | {line['dtype']} | {line['state']} | {error} ({line['where']}) | "
                    f"{line['tolerance']:g} | {times} | {fallbacks} |")
    rows.append(f"\n{AT_A_TIME} jobs ran at a time: their times are no measurement.")
    return "\n".join(rows)
