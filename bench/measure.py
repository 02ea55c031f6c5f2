"""Timing of whole processes: ours and the peer's in turn, ours as two interleaved series that must agree."""
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from peer_env import BenchError

MAX_AA_PERCENT = 5.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1",
              "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Run:
    """One process: its wall time, its CPU time, its peak memory."""
    seconds: float
    cpu_s: float
    peak_mib: float


def memory_floor_mib() -> float:
    """The least that the kernel books for a process started from here: this one's own peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Series:
    runs: list[Run] = field(default_factory=list)

    def summary(self) -> dict:
        seconds = [run.seconds for run in self.runs]
        peak = max(run.peak_mib for run in self.runs)
        return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds),
                "repeats": len(seconds), "peak_mib": peak,
                "peak_is_bound": peak <= memory_floor_mib(),
                "cores_used": sum(run.cpu_s for run in self.runs) / sum(seconds), "seconds": seconds}

    def median(self) -> float:
        return statistics.median(run.seconds for run in self.runs)


Action = Callable[[], Run]


running: set[subprocess.Popen] = set()
_starting, _stopped_by = False, 0


def stop(number: int, _: object) -> None:
    """The handler of a signal that ends the bench, but never between the start of a process and its being noted."""
    global _stopped_by
    _stopped_by = number
    if not _starting:
        sys.exit(128 + number)


def started(start: Callable[[], subprocess.Popen]) -> subprocess.Popen:
    """What `start` starts, noted in `running`."""
    global _starting
    _starting = True
    try:
        process = start()
        running.add(process)
    finally:
        _starting = False
    if _stopped_by:
        sys.exit(128 + _stopped_by)
    return process


def spawn(command: list[str], log: Path) -> subprocess.Popen:
    with open(log, "w") as out:
        return started(lambda: subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                                env=os.environ | ONE_THREAD))


def end_running() -> None:
    """Ends what was started and not waited for: for a bench that is stopped half-way."""
    for process in running:
        process.kill()
        process.wait()


def wait(process: subprocess.Popen, begin: float, command: list[str], log: Path) -> Run:
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    running.discard(process)
    if process.returncode != 0:
        said = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "no message")
        raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: {last[:200]}", 1)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_once(command: list[str], log: Path) -> Run:
    begin = time.perf_counter()
    return wait(spawn(command, log), begin, command, log)


SAMPLE_S, MOST_IN_A_SAMPLE = 0.4, 40


def steady(action: Action) -> Action:
    """For work that may be too short to time alone: a sample is the median of as many runs as fill SAMPLE_S."""
    times = max(1, min(MOST_IN_A_SAMPLE, round(SAMPLE_S / max(1e-6, action().seconds))))
    return lambda: median_of(times, action)


def median_of(starts: int, action: Action) -> Run:
    """One sample of several runs: their median."""
    runs = [action() for _ in range(starts)]
    return Run(statistics.median(run.seconds for run in runs), statistics.median(run.cpu_s for run in runs),
               max(run.peak_mib for run in runs))


class OneCore:
    """Holds this process and what it starts on the last core it may use."""

    def __enter__(self) -> None:
        self.before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(self.before)})

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self.before)


def busy_seconds() -> float:
    """CPU seconds that all cores have worked since the machine started."""
    ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    times = os.times()
    served = sum(cpu_seconds(process.pid) for process in running)  # not waited for yet
    return times.user + times.system + times.children_user + times.children_system + served


def cpu_seconds(pid: int) -> float:
    """What a process that still lives has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alternate(repeats: int, ours: Action, peer: Action | None = None,
              check: Callable[[], dict] = lambda: {}, warm_up: bool = True) -> dict:
    """Each once to warm up, unless they are warm; then `check`, which may refuse what they wrote and gives fields of the line; then
    ours, the peer, ours, `repeats` times, every second round in the reverse order."""
    first, second, others = Series(), Series(), Series()
    turns = [(first, ours), *([(others, peer)] if peer else []), (second, ours)]
    for action in [] if not warm_up else [ours, peer] if peer else [ours]:
        action()
    checked = check()
    begin, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    for repeat in range(repeats):
        for series, action in reversed(turns) if repeat % 2 else turns:
            series.runs.append(action())
    elapsed = time.perf_counter() - begin
    foreign = max(0.0, busy_seconds() - busy - (own_seconds() - own)) / elapsed
    return {"ours": Series(first.runs + second.runs).summary(), "peer": others.summary() if peer else None,
            "aa_percent": percent_apart(first.median(), second.median()), "foreign_cores": foreign, **checked}


def percent_apart(a: float, b: float) -> float:
    return 100 * abs(a - b) / min(a, b)


def is_steady(timing: dict) -> bool:
    return timing["aa_percent"] <= MAX_AA_PERCENT


def refuse_if_unsteady(timing: dict) -> None:
    if not is_steady(timing):
        raise BenchError(f"refused: ours against itself differs by {timing['aa_percent']:.1f} %, more than "
                         f"{MAX_AA_PERCENT:g}; {timing['foreign_cores']:.1f} cores were busy with other work")
