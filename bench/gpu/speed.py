"""The benches of a GPU, ours and the peer in turn: G0 ceilings, G1 loss, G2 divergences, G3 decoding, G4 grouped rollouts,
G5 training steps, G6 optimizer, G7 mean of two models, G8 steps of a whole job."""
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Timer

from measure import MAX_AA_PERCENT, Run, alternate
from peer_env import BenchError
from served import Served
from target import Target, has_module, said_by
import report
import speed_lines
import whole_job

REPEATS, WARM_UPS = 7, 3
CEILING_SECONDS = 90
THREADS = min(8, len(os.sched_getaffinity(0)))


class Side(Served):
    """One that works on a device: its peak is the device's, and it is ended when its time is over."""

    def __init__(self, command: list[str], log: Path, limit: float, more: dict[str, str]) -> None:
        super().__init__(command, log, THREADS, more)
        self.facts: dict = {}
        self._end_after(limit)

    def extend(self, limit: float) -> None:
        self.late.cancel()
        self._end_after(limit)

    def _end_after(self, limit: float) -> None:
        self.late = Timer(limit, self.process.kill)
        self.late.daemon = True  # one that never got ready is not waited for
        self.late.start()

    def __exit__(self, *error: object) -> None:
        self.late.cancel()
        super().__exit__(*error)

    def once(self) -> Run:
        run = super().once()
        self.facts |= self.said  # what is said once stays
        return Run(run.seconds, run.cpu_s, self.said.get("peak_mib") or run.peak_mib)


@dataclass
class Bench:
    target: Target
    work: Path
    device: str
    until: float
    allowed: float = CEILING_SECONDS  # for a side of this line
    peaks: dict = field(default_factory=dict)
    modules: dict[str, bool] = field(default_factory=dict)
    kept: tuple[str, Side] | None = None  # ours, for the next line with the same work

    def limit(self) -> float:
        return min(self.allowed, self.until - time.monotonic())

    def has(self, module: str | None) -> bool:
        if module is None:
            return True
        if module not in self.modules:
            self.modules[module] = has_module(self.target, module)
        return self.modules[module]

    def ours(self, op: str, options: dict) -> Side:
        """A head stays for the next line, where often the peer alone is another: it does the same each time."""
        command = [str(self.target.bin / "fulcrum-bench"), op, json.dumps(options)]
        if self.kept and op == "head" and self.kept[0] == command[1:] and self.kept[1].process.poll() is None:
            self.kept[1].extend(self.limit())
            return self.kept[1]
        self.close()
        side = Side(command, self.work / "ours.log", self.limit(), self.target.ours())
        self.kept = (command[1:], side)
        return side.__enter__()

    def close(self) -> None:
        if self.kept:
            self.kept[1].__exit__(None, None, None)
            self.kept = None

    def peer(self, stack: ExitStack, script: str, options: dict) -> Side:
        command = [self.target.python, str(self.target.pack / "bench" / "peers" / script), json.dumps(options)]
        visible = {"CUDA_VISIBLE_DEVICES": self.target.ours()["CUDA_VISIBLE_DEVICES"]}
        return stack.enter_context(Side(command, self.work / "peer.log", self.limit(), visible))


def run(target: Target, work: Path, device: str, until: float, small: bool, groups: list[str] | None = None) -> dict:
    """`groups`: only these, and the ceilings."""
    bench = Bench(target, work, device, until)
    lines, missing = [], {}
    try:
        with ExitStack() as stack:
            side = bench.peer(stack, "ceiling.py", speed_lines.ceiling(device, small))
            side.once()
            bench.peaks = {key: value for key, value in side.said.items() if key != "seconds"}
        print("  " + ceilings(bench.peaks), flush=True)
    except (BenchError, OSError) as error:
        missing["G0 ceilings"] = str(error)
    for line in chain(speed_lines.lines(device, small), whole_job.lines(small)):
        if groups and line.group not in groups:
            continue
        try:
            made = report.judged(_line(bench, line))
            lines.append(made)
            print("  " + "  ".join(report.cells(made)), flush=True)
        except (BenchError, OSError, KeyError, ValueError) as error:
            missing[line.name] = str(error)
            print(f"  {line.name}: not reported: {error}", file=sys.stderr, flush=True)
            bench.close()  # it may be in any state
    bench.close()
    return {"lines": lines, "missing": missing, "peaks": bench.peaks}


def ceilings(peaks: dict) -> str:
    return (f"ceilings: {peaks['bf16_flops'] / 1e12:.3g} TFLOP/s in bf16, {peaks['fp32_flops'] / 1e12:.3g} in fp32, "
            f"{peaks['read_bytes'] / 1e9:.0f} GB/s copied (read and written)")


def _line(bench: Bench, line: speed_lines.Line) -> dict:
    bench.allowed, end = line.seconds, time.monotonic() + line.seconds
    if bench.limit() < line.least_seconds:
        raise BenchError("no time was left for it")
    if not bench.has(line.needs):
        raise BenchError(f"the peer is not installed ({line.needs})")
    if line.model:
        _make_model(bench, line.model)
    options = {"device": bench.device, "threads": THREADS, **line.options}
    if line.model:
        options["model"] = str(bench.work / line.model)
    theirs = options | line.peer_options
    if line.op == "job":
        options, theirs = whole_job.prepare(bench.target, bench.work, line, options, bench.limit())
    with ExitStack() as stack:
        ours = bench.ours(line.op, options)
        peer = bench.peer(stack, line.script, theirs) if line.script else None
        if line.op == "job":  # long steps: the first of each is the warm-up
            first = ours.once(), peer.once()
            check = whole_job.same(line, ours.facts, peer.facts)
            times = whole_job.repeats(*first, min(end, bench.until))
            timing = alternate(times, ours.once, peer.once, lambda: {"check": check}, warm_up=False)
            return _out(bench, line, ours, timing)
        check = _same(line, ours, peer)
        for side in (ours, peer) if peer else (ours,):
            for _ in range(WARM_UPS - 2):  # one has compared, one is alternate()'s
                side.once()
        timing = alternate(REPEATS, ours.once, peer.once if peer else None, lambda: {"check": check})
    return _out(bench, line, ours, timing)


def _out(bench: Bench, line: speed_lines.Line, ours: Side, timing: dict) -> dict:
    out = {"bench": line.group, "line": line.title, "peer_name": line.peer_name, "data": line.data, **timing}
    if timing["aa_percent"] > MAX_AA_PERCENT:
        out["check"] += "; unsteady"
    if line.goal and timing["peer"]:
        out["goal"] = line.goal
    if bench.peaks and timing["peer"]:
        out["floor_s"] = max(line.flops / bench.peaks["bf16_flops"], line.bytes / bench.peaks["read_bytes"])
    rate = line.flops / timing["ours"]["median_s"] / 1e12
    moved = line.bytes / timing["ours"]["median_s"] / 1e9
    if line.op == "decode":
        out["data"] += f"; ours {ours.facts['tokens'] / timing['ours']['median_s']:.0f} tokens/s, weights at {moved:.0f} GB/s"
    elif line.op == "job":
        out["data"] += f"; ours {rate:.0f} TFLOP/s; {whole_job.split(ours.facts)}"
    else:
        out["data"] += f"; ours {rate:.0f} TFLOP/s" if line.flops else f"; ours {moved:.0f} GB/s" if line.bytes else ""
    return out


def _same(line: speed_lines.Line, ours: Side, peer: Side | None) -> str:
    """Correctness before time."""
    worst, seen = 0.0, set()
    for _ in range(line.compared):
        ours.once()
        if peer is None:
            continue
        peer.once()
        for key in line.keys:
            if key in ours.facts and key in peer.facts:
                seen.add(key)
                a, b = ours.facts[key], peer.facts[key]
                # Of a gradient along a random direction: beside the gradient's length.
                scale = max(abs(a), abs(b), ours.facts.get(key + "_scale", 0.0), 1e-12)
                worst = max(worst, abs(a - b) / scale)
    if peer and not seen:
        raise BenchError("there is nothing to compare; nothing is timed", 1)
    if not worst <= line.tolerance:
        raise BenchError(f"ours and the peer's differ by {worst:.1g}, more than {line.tolerance:g}; nothing is timed", 1)
    return f"within {worst:.0e}" if peer else "-"


def _make_model(bench: Bench, name: str) -> None:
    folder = bench.work / name
    if (folder / "complete").exists():
        return
    script = str(bench.target.pack / "bench" / "peers" / "made_model.py")
    said = said_by([bench.target.python, script, str(folder), json.dumps(speed_lines.MODELS[name])], bench.limit())
    if said.code != 0:
        raise BenchError(f"the model cannot be made: {said.last}")
    (folder / "complete").touch()


def markdown(result: dict) -> str:
    parts = [report.markdown(result["lines"])] if result["lines"] else []
    notes = [f"{line['bench']} {line['line']}: {line['data']}." for line in result["lines"]]
    if result["peaks"]:
        notes.insert(0, ceilings(result["peaks"])[0].upper() + ceilings(result["peaks"])[1:] + ".")
    notes += [f"Not reported: {name}: {why}." for name, why in result["missing"].items()]
    parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)
