#!/usr/bin/env python3
"""./dev bench: ours and the peer in turn, correctness before time (docs/performance.md)."""
import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import bench_decode
import bench_head
import bench_optimizer
import bench_publish
import bench_soup
import bench_start
import bench_step
import bench_tokenize
import bench_verify
import ceiling
import machine
import peer_env
import report
from measure import end_running, stop
from peer_env import BenchError
from setting import Setting

ROOT = peer_env.HERE.parent
BENCHES = {"decode": bench_decode.lines, "loss": bench_head.loss_lines, "divergence": bench_head.divergence_lines,
           "publish": bench_publish.lines, "step": bench_step.lines, "rl": bench_step.rl_lines,
           "optimizer": bench_optimizer.lines, "soup": bench_soup.lines, "tokenize": bench_tokenize.lines,
           "verify": bench_verify.lines, "start": bench_start.lines}
NEED_TORCH = {"decode", "loss", "divergence", "publish", "step", "rl", "optimizer", "soup", "start"}
PEERS = tuple(name for name in peer_env.PEERS if name != "orjson")  # which only reads files for the others
LEAST_REPEATS = 7
UNSTEADY = 3  # the exit code of what another run may mend


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        raise BenchError(message, 2)


def parse() -> argparse.Namespace:
    parser = Parser(prog="./dev bench", description="Compares Fulcrum with its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--peer", metavar="NAME", help=f"only lines beside this peer: {', '.join(PEERS)}")
    parser.add_argument("--repeats", type=int, default=LEAST_REPEATS,
                        help=f"{LEAST_REPEATS} (default) or more")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench",
                        help="folder (default: build/bench)")
    parser.add_argument("--record", action="store_true", help="write the numbers into docs/performance.md")
    return parser.parse_args()


def check(given: argparse.Namespace) -> None:
    for name in given.names:
        if name not in BENCHES:
            raise BenchError(f"no bench '{name[:40]}'; there are {', '.join(BENCHES)}", 2)
    if given.peer not in (None, *PEERS):
        raise BenchError(f"no peer '{given.peer[:40]}'; there are {', '.join(PEERS)}", 2)
    if given.repeats < LEAST_REPEATS:
        raise BenchError(f"--repeats {given.repeats}: fewer than {LEAST_REPEATS} say too little", 2)
    if given.record and (given.names or given.peer):
        raise BenchError("--record wants a run of every bench: name none, and no peer", 2)


def program() -> Path:
    folder = ROOT / os.environ.get("FULCRUM_BUILD", "build") / "bin"
    for name in ("fulcrum", "fulcrum-engine", "fulcrum-bench"):
        if not os.access(folder / name, os.X_OK):
            raise BenchError(f"{folder / name} is not there: run ./dev build", 3)
    return folder / "fulcrum"


def measure(given: argparse.Namespace) -> int:
    check(given)
    fulcrum = program()
    python = peer_env.ensure(bool(NEED_TORCH & set(given.names or BENCHES)))
    setting = Setting(fulcrum, python, given.out.resolve(), given.repeats, given.peer)
    setting.work.mkdir(parents=True, exist_ok=True)
    described = machine.describe(fulcrum)
    lines = [report.judged(line) for name in given.names or BENCHES for line in BENCHES[name](setting)]
    described |= {"peers": peer_env.versions(),  # some are installed by the first line that needs them
                  "ceilings": [ceiling.note(setting, threads) for threads in sorted(setting.peaks)]}
    report.write_json(setting.out / "bench.jsonl", [line | {"machine": described} for line in lines])
    if lines:
        print(report.table(lines), *report.notes(described, lines), sep="\n")
    if given.record:
        record(setting, described, lines)
    return min((error.code for error in setting.refused.values()), default=0)


def record(setting: Setting, described: dict, lines: list[dict]) -> None:
    """A line that could not be believed is on the page with the reason in place of its numbers; where a side is wrong
    nothing is."""
    if any(error.code != UNSTEADY for error in setting.refused.values()):
        raise BenchError("a line failed, nothing is recorded", 1)
    quiet = [line for line in lines if line["foreign_cores"] <= report.MAX_FOREIGN_CORES]
    missing = {name: str(error) for name, error in setting.refused.items()}
    missing |= {f"{line['bench']} {line['line']}": f"{line['foreign_cores']:.1f} cores were busy with other work"
                for line in lines if line not in quiet}
    report.record(ROOT / "docs" / "performance.md", described, quiet, missing)


def main() -> int:
    signal.signal(signal.SIGTERM, stop)
    try:
        return measure(parse())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    finally:
        end_running()


if __name__ == "__main__":
    sys.exit(main())
