#!/usr/bin/env python3
"""What a pack's `run` does on the machine with the GPU: says what the machine is, compares it with the CPU, runs every
trainer, measures. A part that fails or runs out of its time leaves the others' results as they are."""
import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import jobs
import parity
import speed
import target as targets
from measure import end_running, stop

PARTS = ("parity", "jobs", "bench")
# Of the time that is left when a part begins.
SHARES = {"parity": 0.4, "jobs": 0.35, "bench": 1.0}
TITLES = {"parity": "Parity with the CPU", "jobs": "Every trainer, three steps", "bench": "Speed"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description="Checks Fulcrum on a machine with an NVIDIA GPU.")
    parser.add_argument("--only", help=f"some of {', '.join(PARTS)}, with commas between them")
    parser.add_argument("--out", type=Path, default=Path("report.json"),
                        help="the report; the same as tables lies beside it, .md (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the pack itself (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="small sizes: to try the pack itself")
    parser.add_argument("--minutes", type=float, default=9.5, help="the whole run's time (default: %(default)s)")
    parser.add_argument("--torch", type=Path, help="torch's folder, where python3 does not find it")
    parser.add_argument("--python", help="the interpreter that has torch (default: this one)")
    parser.add_argument("--trainers", help="of the part `jobs` only these, with commas between them")
    parser.add_argument("--lines", help="of the part `bench` only these, G1 to G8, with commas between them")
    given = parser.parse_args()
    given.parts = given.only.split(",") if given.only else list(PARTS)
    for part in given.parts:
        if part not in PARTS:
            parser.error(f"--only: there is no part '{part}'; there are {', '.join(PARTS)}")
    return given


def run_part(part: str, target: targets.Target, work: Path, given: argparse.Namespace, until: float) -> dict:
    print(f"\n== {TITLES[part]}", flush=True)
    work.mkdir()
    if part == "parity":
        return parity.run(target, work, given.device, given.small, until)
    if part == "jobs":
        only = given.trainers.split(",") if given.trainers else None
        return jobs.run(target, work, given.device, until, only)
    return speed.run(target, work, given.device, until, given.small, given.lines.split(",") if given.lines else None)


def markdown(report: dict) -> str:
    machine = report["machine"]
    torch, smi = machine["torch"], machine["nvidia_smi"]
    gpu = torch.get("gpu") or smi.get("name") or f"no GPU ({report['device']})"
    lines = [f"Run of {report['date']} on {gpu}; driver {smi.get('driver_version', 'none')}, torch "
             f"{torch.get('torch', torch.get('error'))}, {machine['cpu']} ({machine['cores']} cores); "
             f"{machine['pack']['version']} at {machine['pack']['commit']}."]
    for part in report["parts"]:
        made = report["parts"][part]
        lines.append(f"### {TITLES[part]}")
        lines.append(f"The part ended early: {made['error']}." if "error" in made and len(made) == 1 else
                     {"parity": parity, "jobs": jobs, "bench": speed}[part].markdown(made))
    return "\n\n".join(lines) + "\n"


def write(report: dict, out: Path) -> None:
    """After every part: whoever ends the run has what was done. What cannot be a table is in the JSON."""
    out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(tables(report), encoding="utf-8")


def tables(report: dict) -> str:
    try:
        return markdown(report)
    except Exception as error:
        traceback.print_exc()
        return f"No tables: {type(error).__name__}: {error}\n"


def main() -> int:
    signal.signal(signal.SIGTERM, stop)
    given, begin = parse(), time.monotonic()
    end = begin + 60 * given.minutes
    target = targets.find(HERE.parent.parent, given.torch, given.python)
    report = {"date": date.today().isoformat(), "device": given.device, "machine": targets.describe(target, 120), "parts": {}}
    print("== Machine", json.dumps({k: v for k, v in report["machine"].items() if k != "doctor"}, indent=1),
          report["machine"]["doctor"], sep="\n", flush=True)
    problems = check_machine(target, report["machine"])
    with tempfile.TemporaryDirectory(prefix="fulcrum-gpu-check-") as work:
        for part in given.parts:
            now = time.monotonic()
            until = now + SHARES[part] * (end - now) if part != given.parts[-1] else end
            try:
                report["parts"][part] = run_part(part, target, Path(work) / part, given, until)
            except Exception as error:  # the other parts' results stand
                traceback.print_exc()
                report["parts"][part] = {"error": f"{type(error).__name__}: {error}"}
            report["seconds"] = time.monotonic() - begin
            write(report, given.out)
    failed = {part: made.get("failed", 1 if "error" in made else 0) for part, made in report["parts"].items()}
    print(f"\n{tables(report)}\n{report['seconds']:.0f} s; report: {given.out}, {given.out.with_suffix('.md')}")
    for problem in problems:
        print(f"run: {problem}", file=sys.stderr)
    for part, count in failed.items():
        if count:
            print(f"run: {part}: {count} failed", file=sys.stderr)
    return 1 if any(failed.values()) else 0


def check_machine(target: targets.Target, machine: dict) -> list[str]:
    """What explains failures to come; told at once and at the end."""
    problems = []
    if target.torch_lib is None:
        problems.append(f"{target.python} finds no torch: give --python or --torch")
    version = str(machine["torch"].get("torch", ""))
    if version and not version.startswith(targets.WANTED_TORCH):
        problems.append(f"torch here is {version}, the programs were built with {targets.WANTED_TORCH}")
    if machine["libraries_missing"]:
        problems.append("libraries are missing: " + ", ".join(machine["libraries_missing"]))
    for problem in problems:
        print(f"run: {problem}", file=sys.stderr, flush=True)
    return problems


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        end_running()
