"""The machine and the versions that belong to a number."""
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import peer_env


def describe(fulcrum: Path) -> dict:
    memory_kib = int(Path("/proc/meminfo").read_text().split("\n")[0].split()[1])
    return {"date": date.today().isoformat(), "cpu": cpu_model(), "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory_kib / 2**20, 1), "kernel": platform.release(),
            "fulcrum": said_by([str(fulcrum), "--version"]), "commit": commit(),
            "python": platform.python_version()}


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit() -> str:
    """The checkout's commit; the programs are taken to be built from it."""
    root = str(peer_env.HERE.parent)
    dirty = said_by(["git", "-C", root, "status", "--porcelain", "--untracked-files=no"])
    return said_by(["git", "-C", root, "rev-parse", "--short", "HEAD"]) + ("+changes" if dirty else "")


def said_by(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
