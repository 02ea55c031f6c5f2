#!/usr/bin/env python3
"""Holds the house together: an include may only go to the same layer or a lower one (cmake/Libraries.cmake says which
folder is which layer), and only the rooms that may know a third-party library include its headers."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARY = re.compile(r"^\s*fulcrum_library\(\s*(\S+)\s+LAYER\s+(\d+)([^)]*)\)", re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)

# Headers that only some folders may see: pattern -> predicate over (folder, file name).
GUARDED = [
    (re.compile(r"^(torch|ATen|c10)/"), lambda folder, file, torch: folder in torch, "LibTorch"),
    (re.compile(r"^torch/csrc/distributed/|^gloo/"), lambda folder, file, torch: folder == "engine/collective", "c10d"),
    (re.compile(r"^(grpc|grpcpp|google/protobuf)/|\.(grpc\.)?pb\.h$"),
     lambda folder, file, torch: folder.endswith("/rpc") or folder == "proto" or folder.startswith("engine/cli"),
     "gRPC and protobuf"),
    (re.compile(r"^sentencepiece"), lambda folder, file, torch: file == "sentencepiece_tokenizer.cpp", "SentencePiece"),
    (re.compile(r"^sqlite3"), lambda folder, file, torch: folder == "engine/jobs", "SQLite"),
    (re.compile(r"^gmp"), lambda folder, file, torch: folder.startswith("reward"), "GMP"),
    (re.compile(r"^re2/"), lambda folder, file, torch: folder == "reward", "RE2"),
    (re.compile(r"^spdlog/"), lambda folder, file, torch: folder == "engine/core", "spdlog"),
    (re.compile(r"^(prometheus/|httplib)"), lambda folder, file, torch: file == "metrics_endpoint.cpp", "the HTTP server"),
    (re.compile(r"^(hwy|immintrin)"), lambda folder, file, torch: folder.startswith("engine/kernels"), "SIMD"),
    (re.compile(r"^cuda"), lambda folder, file, torch: file == "launch.h", "CUDA (engine/kernels/device/launch.h has it)"),
    (re.compile(r"^regex$"), lambda folder, file, torch: False, "std::regex (it recurses on hostile input)"),
]


def main() -> int:
    text = (ROOT / "cmake/Libraries.cmake").read_text()
    layers, torch = {}, set()
    for folder, layer, rest in LIBRARY.findall(text):
        layers[folder] = int(layer)
        if "fulcrum_torch" in rest:
            torch.add(folder)
    # Whoever depends on a torch library may see torch.
    depends = {f: re.findall(r"[\w/]+", re.sub(r".*?DEPENDS", "", rest, flags=re.S).split("LINK")[0])
               for f, _, rest in LIBRARY.findall(text) if "DEPENDS" in rest}
    grew = True
    while grew:
        grew = False
        for folder, on in depends.items():
            if folder not in torch and any(d in torch for d in on):
                torch.add(folder)
                grew = True

    def folder_of(path: str):
        parts = path.split("/")[:-1]
        while parts:
            if "/".join(parts) in layers:
                return "/".join(parts)
            parts.pop()
        return None

    errors = []
    for base in ("engine", "policy", "rollout", "reward", "proto"):
        for file in sorted((ROOT / base).rglob("*")):
            if file.suffix not in (".h", ".cpp", ".cu", ".cuh"):
                continue
            relative = file.relative_to(ROOT).as_posix()
            home = folder_of(relative)
            if home is None:
                errors.append(f"{relative}: its folder is not in cmake/Libraries.cmake")
                continue
            for kind, name in INCLUDE.findall(file.read_text()):
                if kind == '"':
                    other = folder_of(name)
                    if other is not None and layers[other] > layers[home]:
                        errors.append(f"{relative} (layer {layers[home]}) includes {name} (layer {layers[other]})")
                    if other == "engine/learner" and home.startswith("rollout") or \
                       other is not None and other.startswith("rollout") and home == "engine/learner":
                        errors.append(f"{relative} includes {name}: rollout and learner do not know each other")
                for pattern, allowed, what in GUARDED:
                    if pattern.search(name) and not allowed(home, file.name, torch):
                        errors.append(f"{relative} includes {name}: {what} is not for this folder")
    for error in errors:
        print(error)
    print(f"layers: {len(layers)} folders, {len(errors)} violations")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
