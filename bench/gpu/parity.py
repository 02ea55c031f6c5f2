"""The checks of bin/fulcrum-gpu-check, each group in a process and with a time of its own."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

from target import Target, said_by

GROUP_SECONDS = 120  # at most; the first one loads LibTorch's CUDA library from disk


def run(target: Target, work: Path, device: str, small: bool, until: float) -> dict:
    program = str(target.bin / "fulcrum-gpu-check")
    groups = said_by([program, "groups"], 60, target.env())
    if groups.code != 0:
        return {"checks": [], "groups": [], "failed": 1, "error": f"fulcrum-gpu-check does not start: {groups.last}"}
    checks, ends = [], []
    for group in groups.out.split():
        command = [program, "parity", "--device", device, "--group", group, "--json", str(work / f"{group}.jsonl"),
                   *(["--small"] if small else [])]
        print(f"\n{group}", flush=True)
        ends.append(_group(target, command, group, min(GROUP_SECONDS, until - time.monotonic())))
        checks += _read(work / f"{group}.jsonl")
    failed = sum(check["state"] == "FAIL" for check in checks) + sum(end["error"] is not None for end in ends)
    return {"checks": checks, "groups": ends, "failed": failed}


def _two_gpus() -> dict[str, str]:
    """Where nobody has said which GPUs are to be used: the first, and the second for sums over both."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0,1")}


def _group(target: Target, command: list[str], group: str, limit: float) -> dict:
    """Its lines go to the terminal as they come. An error is what kept it from its end; a failed check is none."""
    begin = time.monotonic()
    if limit < 5:
        print("  no time is left for it")
        return {"group": group, "seconds": 0.0, "error": "no time was left for it"}
    words_of = Path(command[command.index("--json") + 1]).with_suffix(".err")
    with open(words_of, "w") as words:  # a pipe that nobody reads would stop it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, errors="replace",
                                   env=target.env() | _two_gpus(), stdin=subprocess.DEVNULL)
    late = Timer(limit, process.kill)
    late.start()
    try:
        for line in process.stdout:
            print(f"  {line.rstrip()}", flush=True)
        code = process.wait()
    finally:
        late.cancel()
    seconds, error = time.monotonic() - begin, None
    if code not in (0, 1):
        words = [line for line in words_of.read_text(errors="replace").splitlines() if line.strip()]
        error = (f"it ran past its {limit:.0f} s" if seconds >= limit else
                 f"it ended with {code}: {words[-1][:300] if words else 'no message'}")
        print(f"  {group}: {error}", file=sys.stderr)
    return {"group": group, "seconds": seconds, "error": error}


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    out = []
    for line in lines:
        try:
            out.append(json.loads(line))
        except ValueError:
            pass  # the last one of a process that was killed
    return out


def markdown(result: dict) -> str:
    rows = ["| group | ok | failed | left out | nearest to its tolerance | s |", "|---|---|---|---|---|---|"]
    for end in result["groups"]:
        own = [check for check in result["checks"] if check["group"] == end["group"]]
        count = {state: sum(check["state"] == state for check in own) for state in ("ok", "FAIL", "left out")}
        measured = [check for check in own if check["state"] == "ok"]
        nearest = max(measured, key=lambda check: check["error"] / (check["tolerance"] or 1), default=None)
        text = (f"{nearest['name']}: {nearest['error']:.1e} of {nearest['tolerance']:.1e}" if nearest else "-")
        rows.append(f"| {end['group']} | {count['ok']} | {count['FAIL']} | {count['left out']} | {end['error'] or text} | "
                    f"{end['seconds']:.0f} |")
    for check in result["checks"]:
        if check["state"] == "FAIL":
            error = "no number" if check["error"] is None else f"{check['error']:.2g}"
            rows.append(f"\n- **failed**: {check['group']}, {check['name']}: {error}, tolerance {check['tolerance']:.2g} "
                        f"({check['note']})")
    if result.get("error"):
        rows.append(f"\n- **failed**: {result['error']}")
    return "\n".join(rows)
