#!/usr/bin/env python3
"""Counts the instructions of the hot paths and compares them with baseline.json. Unlike a time, the number does not
depend on how busy the machine is, nor on which x86 it is: valgrind shows every program the same processor.

    tests/instructions/check.py PROGRAM [CASE...]     # exit code 1: a case takes more than 5 % above its baseline
    tests/instructions/check.py PROGRAM --record      # after a change that is worth it, or that made it better

PROGRAM is build/bin/instructions. Exit code 77 (CTest: skipped), with a word, where the count would mean nothing: no
valgrind, no AVX2, or another compiler than the baseline's.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BASELINE = pathlib.Path(__file__).with_name("baseline.json")
LIMIT = 0.05
SKIPPED = 77


def skip(why: str) -> None:
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def count(program: str, case: str) -> int:
    """Instructions inside of counted()."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        # Symbols are bound before the program begins: else the first call of each would count the linker's work.
        # The environment is not inherited: a longer one moves the stack, and with it the alignment of what lies there.
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=counted", f"--callgrind-out-file={out}", program, case],
            env={"PATH": os.environ.get("PATH", "/usr/bin"), "LD_BIND_NOW": "1"}, text=True, capture_output=True)
        if done.returncode == SKIPPED:
            skip(done.stdout.strip())
        if done.returncode != 0:
            sys.exit(f"{case} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        total = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)
        if total is None or int(total[1]) == 0:
            sys.exit(f"{case}: nothing was counted: is counted() still a function of its own?")
        return int(total[1])


def verdict(case: str, counted: int, baseline: int) -> bool:
    """Whether the case may stay as it is; prints why."""
    change = counted / baseline - 1
    print(f"{case}: {counted:,} instructions, baseline {baseline:,} ({change:+.2%})")
    if change > LIMIT:
        print(f"  more than {LIMIT:.0%} above the baseline: find out why, or record it with the reason (--record)")
    if change < -LIMIT:
        print("  well below the baseline: lower it, so that it cannot creep back (--record)")
    return change <= LIMIT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("cases", nargs="*", help="default: all")
    parser.add_argument("--record", action="store_true", help="write baseline.json anew")
    o = parser.parse_args()
    if shutil.which("valgrind") is None:
        skip("there is no valgrind: ./dev setup installs it")
    compiler, *known = subprocess.run([o.program], check=True, text=True, capture_output=True).stdout.split("\n")
    cases = o.cases or [case for case in known if case]
    if o.record:
        BASELINE.write_text(json.dumps({"compiler": compiler, "instructions": {c: count(o.program, c) for c in cases}},
                                       indent=2) + "\n")
        print(BASELINE.read_text(), end="")
        return 0
    baseline = json.loads(BASELINE.read_text())
    if compiler != baseline["compiler"]:
        skip(f"built by {compiler}, the baseline by {baseline['compiler']}")
    fine = [verdict(case, count(o.program, case), baseline["instructions"][case]) for case in cases]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
