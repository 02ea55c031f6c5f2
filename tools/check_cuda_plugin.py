#!/usr/bin/env python3
"""The CUDA plugin holds code for every processor it should, in each of its parts: usage: check_cuda_plugin.py FILE.

NVIDIA's tool for this (cuobjdump) is in no package, so the containers of device code ("fatbins") are read here: a
header, then entries with a header of their own (kind 1: PTX, 2: a binary; the processor; a flag for code that uses
what one processor alone has, the a of sm_90a)."""

import struct
import sys

MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of the entries
ENTRY = struct.Struct("<HHIQ12xI8xQ")  # kind, version, bytes of this header, bytes of the code; processor; flags
KINDS = {1: "compute_", 2: "sm_"}
ONE_PROCESSOR_ONLY = 0x100000
EXPECTED = {"compute_80", "sm_80", "sm_90a", "sm_100"}


def containers(data: bytes):
    """The set of processors of each container."""
    at = data.find(MAGIC)
    while at >= 0:
        _, version, header, size = HEADER.unpack_from(data, at)
        end = at + header + size
        if version != 1 or header != HEADER.size or end > len(data):
            at = data.find(MAGIC, at + 1)
            continue
        found, entry = set(), at + header
        while entry < end:
            kind, _, entry_header, bytes_of_code, processor, flags = ENTRY.unpack_from(data, entry)
            if kind not in KINDS or entry_header < ENTRY.size:
                raise ValueError(f"an entry of kind {kind} at byte {entry} is none of PTX and binary")
            found.add(f"{KINDS[kind]}{processor}{'a' if flags & ONE_PROCESSOR_ONLY else ''}")
            entry += entry_header + bytes_of_code
        yield found
        at = data.find(MAGIC, end)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with open(sys.argv[1], "rb") as file:
        found = list(containers(file.read()))
    bad = [processors for processors in found if processors != EXPECTED]
    for processors in bad:
        print(f"{sys.argv[1]}: a part has code for {sorted(processors)}, not {sorted(EXPECTED)}")
    print(f"cuda plugin: {len(found)} parts, {len(bad)} without code for all of {' '.join(sorted(EXPECTED))}")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main())
