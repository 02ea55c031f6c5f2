"""The peers' own Python: a virtual environment with what peers/requirements*.txt pins, made on first use."""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "peers" / "requirements.txt"
TORCH_REQUIREMENTS = HERE / "peers" / "requirements-torch.txt"  # gigabytes: for the benches that need them

PEERS = ("tokenizers", "math-verify", "orjson", "torch", "transformers", "trl", "cut-cross-entropy")


class BenchError(Exception):
    """One line for the user, and the exit code that goes with it."""

    def __init__(self, message: str, code: int = 3) -> None:
        super().__init__(message)
        self.code = code


def folder() -> Path:
    return Path(os.environ.get("FULCRUM_DEPS") or Path.home() / ".cache" / "fulcrum") / "bench-venv"


def ensure(with_torch: bool) -> Path:
    """The interpreter of the peers; installs them where they are missing or of other versions."""
    venv, python = folder(), folder() / "bin" / "python"
    if not (_installed(REQUIREMENTS) and python.exists()):
        # Without a pip of its own: Debian's python3 has none to give it.
        _run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(venv)], "make a virtual environment")
        _install(REQUIREMENTS, "the peers")
    if with_torch and not _installed(TORCH_REQUIREMENTS):
        _install(TORCH_REQUIREMENTS, "torch, transformers, TRL and cut-cross-entropy (3 GB)")
    return python


def versions() -> dict[str, str]:
    """Of the peers themselves, not of what they load."""
    lines = [line for file in (REQUIREMENTS, TORCH_REQUIREMENTS) if _installed(file)
             for line in file.read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    return {name: pinned[name] for name in PEERS if name in pinned}


def _stamp(requirements: Path) -> Path:
    return folder() / f"installed-{requirements.name}"  # written last: an interrupted installation starts over


def _installed(requirements: Path) -> bool:
    return _stamp(requirements).exists() and _stamp(requirements).read_text() == requirements.read_text()


def _install(requirements: Path, what: str) -> None:
    print(f"bench: installing {what}", file=sys.stderr)
    _run([sys.executable, "-m", "pip", "--python", str(folder() / "bin" / "python"), "install", "--quiet",
          "--no-deps", "--disable-pip-version-check", "--only-binary=:all:", "--retries", "1", "-r",
          str(requirements)], "install the peers from PyPI (is there a network?)")
    _stamp(requirements).write_text(requirements.read_text())


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise BenchError(f"cannot {what}: {said[-1].strip()[:200] if said else done.returncode}")
