#!/usr/bin/env python3
"""Files stay readable: 500 lines at most (tests 700); longer than 300 is reported as a hint."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = {".h", ".cpp", ".cu", ".cuh", ".py", ".proto", ".cmake", ".md"}


def main() -> int:
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, text=True,
                           capture_output=True).stdout.split()
    hard = soft = 0
    for name in names:
        path = ROOT / name
        if path.suffix not in SOURCES or not path.is_file() or name.startswith("tests/golden/"):
            continue
        lines = path.read_text(errors="replace").count("\n")
        limit = 700 if name.startswith("tests/") else 500
        if lines > limit:
            print(f"{name}: {lines} lines, the limit is {limit}")
            hard += 1
        elif lines > 300 and not name.startswith("tests/"):
            soft += 1
    print(f"sizes: {len(names)} files, {hard} above the limit, {soft} above 300 lines")
    return 1 if hard else 0


if __name__ == "__main__":
    sys.exit(main())
