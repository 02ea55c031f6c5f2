"""The peers' own Python: a virtual environment with what peers/requirements.txt pins, made on first use."""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "peers" / "requirements.txt"


class BenchError(Exception):
    """One line for the user, and the exit code that goes with it."""

    def __init__(self, message: str, code: int = 3) -> None:
        super().__init__(message)
        self.code = code


def folder() -> Path:
    return Path(os.environ.get("FULCRUM_DEPS") or Path.home() / ".cache" / "fulcrum") / "bench-venv"


def ensure() -> Path:
    """The interpreter of the peers; installs them where they are missing or of other versions."""
    venv, python = folder(), folder() / "bin" / "python"
    stamp = venv / "installed.txt"  # written last: an interrupted installation starts over
    if stamp.exists() and stamp.read_text() == REQUIREMENTS.read_text() and python.exists():
        return python
    print("bench: installing the peers", file=sys.stderr)
    # Without a pip of its own: Debian's python3 has none to give it.
    _run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(venv)], "make a virtual environment")
    _run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
          "--disable-pip-version-check", "--only-binary=:all:", "--retries", "1", "-r", str(REQUIREMENTS)],
         "install the peers from PyPI (is there a network?)")
    stamp.write_text(REQUIREMENTS.read_text())
    return python


def versions() -> dict[str, str]:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise BenchError(f"cannot {what}: {said[-1].strip()[:200] if said else done.returncode}")
