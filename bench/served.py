"""A side that loads once and then does its work on request: what is timed is the work alone. Both sides speak
one line of JSON for each line they are sent (bench/ours/main.cpp, bench/peers/serve.py)."""
import json
import os
import subprocess
from contextlib import ExitStack
import time
from pathlib import Path

from measure import Run, cpu_seconds, running, started
from peer_env import BenchError
from setting import Setting


# What `fulcrum` sets for its engine.
OURS = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=33554432:"
                          "glibc.malloc.mmap_threshold=33554432:glibc.malloc.arena_max=1"}


class Served:
    """Use as a context: the process ends with it."""

    def __init__(self, command: list[str], log: Path, threads: int, more: dict[str, str] | None = None) -> None:
        self.command, self.log = command, log
        with open(log, "w") as err:
            self.process = started(lambda: subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True,
                env=os.environ | environment(threads) | (more or {})))
        self.said: dict = {}
        self.ready_mib = 0.0

    def __enter__(self) -> "Served":
        self._answer()
        self.ready_mib = self._status_mib("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        running.discard(self.process)
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def once(self) -> Run:
        cpu = cpu_seconds(self.process.pid)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.said = self._answer()
        return Run(self.said["seconds"], cpu_seconds(self.process.pid) - cpu, self._status_mib("VmHWM"))

    def forget_peak(self) -> None:
        """What was needed until now, for checks perhaps, does not count."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_above_ready_mib(self) -> float:
        return self._status_mib("VmHWM") - self.ready_mib

    def _status_mib(self, field: str) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def _answer(self) -> dict:
        """The next line that is an object: libraries print, too."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        said = [line for line in self.log.read_text(errors="replace").split("\n") if line.strip()]
        raise BenchError(f"{Path(self.command[0]).name} {Path(self.command[1]).name} ended with "
                         f"{self.process.returncode}: {said[-1][:200] if said else 'no message'}", 1)


def both(setting: Setting, stack: ExitStack, threads: int, ours: tuple[str, dict],
         peer: tuple[str, dict]) -> tuple[Served, Served]:
    """Our operation and the peer's script, each with its options, loaded and waiting; they end with `stack`."""
    (op, options), (script, theirs) = ours, peer
    commands = ([str(setting.ours), op, json.dumps(options)], [*setting.peer(script), json.dumps(theirs)])
    mine, other = (stack.enter_context(Served(command, setting.work / log, threads, more))
                   for command, log, more in zip(commands, ("ours.log", "peer.log"), (OURS, None)))
    return mine, other


def peer_alone(setting: Setting, stack: ExitStack, threads: int, script: str, options: dict) -> Served:
    return stack.enter_context(Served([*setting.peer(script), json.dumps(options)], setting.work / "peer.log", threads))


def environment(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
