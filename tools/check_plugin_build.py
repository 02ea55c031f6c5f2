#!/usr/bin/env python3
"""The plugin's build changes with every source of a kernel: usage: check_plugin_build.py CMAKE.

A copy of engine/ is changed file by file, and cmake/PluginBuild.cmake asked for the hash."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A kernel, what it includes, what that includes, a list that is no C++; and one that is no part of the plugin.
PARTS = ["rmsnorm/op_cuda.cu", "matmul_bf16/decode_cuda.cu", "device/rows.cuh", "device/launch.h", "device/table.h",
         "device/decode_table.h", "adamw/op.h", "../divergence/generators/divergences.def"]
OTHERS = ["device/driver.cpp", "matmul/op_cpu.cpp"]


def build_of(cmake: str, root: pathlib.Path) -> str:
    command = [cmake, f"-DROOT={root}", "-P", str(ROOT / "cmake/PluginBuild.cmake")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "engine", copy / "engine")
        before = build_of(sys.argv[1], copy)
        for name in PARTS + OTHERS:
            file = copy / "engine/kernels" / name
            text = file.read_text()
            file.write_text(text + "\n")
            if (build_of(sys.argv[1], copy) != before) != (name in PARTS):
                wrong.append(name)
            file.write_text(text)
    for name in wrong:
        print(f"a change of {name} {'leaves' if name in PARTS else 'changes'} the build of the plugin")
    print(f"plugin build: {len(PARTS) + len(OTHERS)} files looked at, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
