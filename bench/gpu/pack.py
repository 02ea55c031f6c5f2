"""Makes the archive that a machine with a GPU needs: our programs, the libraries that neither glibc nor torch brings, jobs,
the scripts."""
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from datetime import date
from pathlib import Path

import pack_jobs
import target as targets

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ("fulcrum", "fulcrum-engine", "fulcrum-gpu-check", "fulcrum-bench")
PLUGIN = "libfulcrum_cuda.so"
LIMIT = 64 << 20  # what may be carried to the machine
BENCH = ("measure.py", "report.py", "ceiling.py", "served.py", "setting.py", "shapes.py", "peer_env.py")
PEERS = ("serve.py", "device.py", "decode.py", "head.py", "optimizer.py", "ceiling.py", "average.py", "train_step.py", "made_model.py",
         "trl_step.py")
GPU = ("run.py", "target.py", "parity.py", "jobs.py", "speed.py", "speed_lines.py", "whole_job.py")
RUN = """#!/bin/sh
# See --help. Needs Python 3.10 or later, with torch.
here=$(dirname "$(readlink -f "$0")")
exec "${PYTHON:-python3}" "$here/bench/gpu/run.py" "$@"
"""


def said_by(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"gpu_check: {command[0]} {command[-1]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def make(build: Path, out: Path, without_plugin: bool) -> None:
    binaries = [*PROGRAMS, *([] if without_plugin else [PLUGIN])]
    for name in binaries:
        if not (build / "bin" / name).exists():
            raise SystemExit(f"gpu_check: {build / 'bin' / name} is not there: run ./dev build")
    with tempfile.TemporaryDirectory() as temporary:
        pack = Path(temporary) / "fulcrum-gpu-check"
        _binaries(build, pack, binaries)
        names = pack_jobs.write(build / "bin" / "fulcrum", pack / "jobs")
        _scripts(pack)
        (pack / "manifest.json").write_text(json.dumps(_manifest(build, pack, names), indent=1) + "\n")
        with tarfile.open(out, "w:gz") as archive:
            archive.add(pack, arcname=pack.name)
    size = out.stat().st_size
    if size > LIMIT:
        out.unlink()
        raise SystemExit(f"gpu_check: the pack has {size / 2**20:.1f} MiB, more than the {LIMIT >> 20} that may be carried")
    print(f"{out}: {size / 2**20:.1f} MiB")


def _binaries(build: Path, pack: Path, names: list[str]) -> None:
    for folder in ("bin", "lib", "lib-cxx"):
        (pack / folder).mkdir(parents=True)
    for name in names:
        said_by("strip", "-o", str(pack / "bin" / name), str(build / "bin" / name))
    for name, path in sorted(_libraries(build, names).items()):
        where = pack / ("lib-cxx" if name in targets.CXX else "lib") / name
        shutil.copy(Path(path).resolve(), where)
        where.chmod(0o755)
        said_by("strip", "--strip-unneeded", str(where))


def _libraries(build: Path, names: list[str]) -> dict[str, str]:
    """What the programs load, without glibc, LibTorch and CUDA."""
    cache = dict(line.split("=", 1) for line in (build / "CMakeCache.txt").read_text().splitlines()
                 if re.match(r"\w+:\w+=", line))
    torch = Path(next(value for key, value in cache.items() if key.startswith("FULCRUM_TORCH_ROOT:"))).resolve()
    cuda = Path(next((value for key, value in cache.items() if key.startswith("FULCRUM_CUDA_ROOT:")), "/none")).resolve()
    brought = (torch, torch.parent / "nvidia", cuda)
    out = {}
    for name in names:
        for library, path in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x|$)", said_by("ldd", str(build / "bin" / name)), re.M):
            if path == "not found":
                raise SystemExit(f"gpu_check: {name} needs {library}, which this machine does not have")
            if library in targets.GLIBC or any(Path(path).resolve().is_relative_to(root) for root in brought):
                continue
            out[library] = path
    return out


def _scripts(pack: Path) -> None:
    for folder, names in (("bench", BENCH), ("bench/peers", PEERS), ("bench/gpu", GPU)):
        (pack / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(ROOT / folder / name, pack / folder / name)
    (pack / "run").write_text(RUN)
    (pack / "run").chmod(0o755)


def _manifest(build: Path, pack: Path, trainers: list[str]) -> dict:
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    needed = set()
    for file in [*(pack / "bin").iterdir(), *(pack / "lib").iterdir()]:
        needed |= set(re.findall(r"\bGLIBC_(2\.\d+)\b", said_by("objdump", "-T", str(file))))
    return {"version": said_by(str(build / "bin" / "fulcrum"), "--version").strip(), "commit": git.stdout.strip() or "unknown",
            "made": date.today().isoformat(), "torch": targets.WANTED_TORCH,
            "needs_glibc": max(needed, key=lambda v: int(v.split(".")[1]), default=""), "trainers": trainers,
            "libraries": sorted(path.name for path in [*(pack / "lib").iterdir(), *(pack / "lib-cxx").iterdir()])}
