"""The machine that a pack is run on: its torch, its GPU, the environment our programs need there. Python's own library
alone: nothing else may be there."""
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

GLIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2", "libutil.so.1",
         "ld-linux-x86-64.so.2", "linux-vdso.so.1", "libanl.so.1"}
CXX = {"libstdc++.so.6", "libgcc_s.so.1"}
WANTED_TORCH = "2.11.0"


@dataclass
class Said:
    """How a command ended."""
    code: int | None  # None: it ran past its time
    out: str
    err: str

    @property
    def last(self) -> str:
        lines = [line for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return "it ran past its time" if self.code is None else lines[-1].strip()[:300] if lines else str(self.code)


def said_by(command: list[str], limit: float, env: dict[str, str] | None = None, cwd: Path | None = None) -> Said:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=max(1.0, limit), env=env,
                              cwd=cwd, stdin=subprocess.DEVNULL)
        return Said(done.returncode, done.stdout, done.stderr)
    except subprocess.TimeoutExpired as late:
        text = [part.decode(errors="replace") if isinstance(part, bytes) else part or "" for part in (late.stdout, late.stderr)]
        return Said(None, *text)
    except OSError as error:
        return Said(127, "", str(error))


@dataclass
class Target:
    pack: Path
    python: str  # the interpreter that has torch
    torch_lib: Path | None  # torch/lib
    libraries: list[Path] = field(default_factory=list)  # in the order in which they are looked through

    @property
    def bin(self) -> Path:
        return self.pack / "bin"

    def ours(self) -> dict[str, str]:
        """What our programs have in their environment besides."""
        return {"LD_LIBRARY_PATH": ":".join(map(str, self.libraries)),
                "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}

    def env(self) -> dict[str, str]:
        return os.environ | self.ours()


def nvidia_folders(torch_lib: Path) -> list[Path]:
    """What pip installs beside torch, and where ./dev setup-cuda unpacks it."""
    return sorted((torch_lib.parent.parent / "nvidia").glob("*/lib"))


def find_torch(python: str) -> Path | None:
    """Without importing it: that takes seconds, and may fail for reasons of its own."""
    code = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    found = said_by([python, "-c", code], 60).out.strip()
    return Path(found) / "lib" if found and (Path(found) / "lib" / "libtorch_cpu.so").exists() else None


def find(pack: Path, torch: Path | None, python: str | None) -> Target:
    interpreter = python or sys.executable
    lib = torch / "lib" if torch else find_torch(interpreter)
    target = Target(pack, interpreter, lib)
    if lib:
        target.libraries = [lib, *nvidia_folders(lib), pack / "lib"]
    else:
        target.libraries = [pack / "lib"]
    # The system's C++ runtime where it is new enough: what is older than ours cannot run our programs.
    if said_by([str(target.bin / "fulcrum"), "--version"], 60, target.env()).code != 0:
        target.libraries.append(pack / "lib-cxx")
    return target


def linked(target: Target) -> dict[str, dict[str, str]]:
    """By program: what its libraries' names are found as ("not found": nowhere)."""
    out = {}
    for program in sorted(target.bin.iterdir()):
        said = said_by(["ldd", str(program)], 60, target.env())
        out[program.name] = dict(re.findall(r"^\s*(\S+) => (not found|\S+)", said.out, re.M))
    return out


def foreign(target: Target, found: dict[str, dict[str, str]]) -> tuple[set[str], set[str]]:
    """Names that are found nowhere, and those that the system gives though they are neither glibc's nor the C++
    runtime's."""
    missing, system = set(), set()
    own = [str(folder.resolve()) for folder in target.libraries]
    for libraries in found.values():
        for name, path in libraries.items():
            if path == "not found":
                missing.add(name)
            elif Path(name).name not in GLIBC | CXX and not any(
                    str(Path(path).parent.resolve()) == folder for folder in own):
                system.add(name)
    return missing, system


TORCH_SAYS = """
import json, torch
gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    "gpu": gpu and gpu.name, "capability": gpu and f"{gpu.major}.{gpu.minor}", "memory_gib": gpu and gpu.total_memory / 2**30,
    "multiprocessors": gpu and gpu.multi_processor_count}))
"""
SMI = "name,driver_version,pstate,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,utilization.gpu,memory.used"


def describe(target: Target, limit: float) -> dict:
    """Each entry on its own: what cannot be said has the reason in its place."""
    manifest = json.loads((target.pack / "manifest.json").read_text())
    torch = said_by([target.python, "-c", TORCH_SAYS], limit)
    smi = said_by(["nvidia-smi", f"--query-gpu={SMI}", "--format=csv,noheader"], 30)
    doctor = said_by([str(target.bin / "fulcrum"), "doctor"], 60, target.env())
    missing, system = foreign(target, linked(target))
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "")
    return {"pack": manifest, "cpu": cpu, "cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
            "glibc": os.confstr("CS_GNU_LIBC_VERSION"), "python": sys.version.split()[0],
            "torch": json.loads(torch.out.strip().splitlines()[-1]) if torch.code == 0 else {"error": torch.last},
            "torch_lib": str(target.torch_lib or ""),
            "nvidia_smi": dict(zip(SMI.split(","), map(str.strip, smi.out.splitlines()[0].split(",")))) if smi.code == 0
            and smi.out.strip() else {"error": smi.last},
            "doctor": doctor.out if doctor.code == 0 else doctor.last,
            "libraries_missing": sorted(missing), "libraries_of_the_system": sorted(system)}


def has_module(target: Target, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return said_by([target.python, "-c", code], 60).code == 0
