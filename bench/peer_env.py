"""The peers' own Python: a virtual environment with what peers/requirements*.txt pins, made on first use. Lines that need
llama.cpp build it there, from its source package."""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "peers" / "requirements.txt"
TORCH_REQUIREMENTS = HERE / "peers" / "requirements-torch.txt"  # gigabytes: for the benches that need them
LLAMA_BUILD_REQUIREMENTS = HERE / "peers" / "requirements-llama-build.txt"
LLAMA_REQUIREMENTS = HERE / "peers" / "requirements-llama.txt"
LLAMA = "llama-cpp-python"

PEERS = ("tokenizers", "math-verify", "orjson", "torch", "transformers", "trl", "cut-cross-entropy",
         "liger-chunked", LLAMA)
PACKAGES = {"liger-chunked": "liger-kernel"}  # of peers that are a part of one


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
        _install(TORCH_REQUIREMENTS, "torch, transformers, TRL, cut-cross-entropy and Liger (3 GB)")
    return python


_no_llama: list[BenchError] = []  # why there is none: it is tried once in a run


def ensure_llama() -> None:
    """llama-cpp-python in the peers' environment, compiled for the processor of this machine."""
    if _installed(LLAMA_REQUIREMENTS):
        return
    if _no_llama:
        raise _no_llama[0]
    how = {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF",
           "CMAKE_BUILD_PARALLEL_LEVEL": str(len(os.sched_getaffinity(0)))}
    try:
        if not _installed(LLAMA_BUILD_REQUIREMENTS):
            _install(LLAMA_BUILD_REQUIREMENTS, "what builds llama.cpp")
        _install(LLAMA_REQUIREMENTS, "llama.cpp (it is compiled: some minutes)", LLAMA, how)
    except BenchError as error:
        _no_llama.append(error)
        raise


def versions() -> dict[str, str]:
    """Of the peers themselves, not of what they load."""
    lines = [line for file in (REQUIREMENTS, TORCH_REQUIREMENTS, LLAMA_REQUIREMENTS) if _installed(file)
             for line in file.read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    packages = [PACKAGES.get(name, name) for name in PEERS]
    return {name: pinned[name] for name in packages if name in pinned}


def _stamp(requirements: Path) -> Path:
    return folder() / f"installed-{requirements.name}"  # written last: an interrupted installation starts over


def _installed(requirements: Path) -> bool:
    return _stamp(requirements).exists() and _stamp(requirements).read_text() == requirements.read_text()


def _install(requirements: Path, what: str, compiled: str = "", how: dict[str, str] | None = None) -> None:
    """Wheels alone, but for `compiled`, which is built from its source package with `how` in the environment."""
    print(f"bench: installing {what}", file=sys.stderr)
    source = [f"--no-binary={compiled}", "--no-build-isolation", "--no-cache-dir"] if compiled else []
    doing = f"build {compiled} (are g++, cmake, ninja and a network there?)" if compiled else (
        "install the peers from PyPI (is there a network?)")
    _run([sys.executable, "-m", "pip", "--python", str(folder() / "bin" / "python"), "install", "--quiet",
          "--no-deps", "--disable-pip-version-check", "--only-binary=:all:", *source, "--retries", "1", "-r",
          str(requirements)], doing, how)
    _stamp(requirements).write_text(requirements.read_text())


def _run(command: list[str], what: str, more: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (more or {}))
    if done.returncode != 0:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        # Of a build the first complaint says more than the last; CMake's begins on the line after its place.
        first = next((i for i, line in enumerate(said) if "CMake Error" in line or " error: " in line), len(said) - 1)
        cause = " ".join(said[first + 1:first + 4] if said and "CMake Error" in said[first] else said[first:first + 1])
        raise BenchError(f"cannot {what}: {cause[:200] or done.returncode}")
