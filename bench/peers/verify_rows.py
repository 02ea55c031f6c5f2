"""What `fulcrum score --reward math` does, by math-verify: rows with `completion` and `solution` in, the same
rows with `score`, `verdict` and `reason` out. Its settings are its defaults."""
import logging
import sys

import orjson
from math_verify import parse, verify


def judge(row: dict) -> dict:
    want, got = parse(row["solution"]), parse(row["completion"])
    if not want:
        return row | {"score": None, "verdict": "bad_reference", "reason": "cannot read the reference"}
    if not got:
        return row | {"score": 0.0, "verdict": "no_answer", "reason": "no formula or number"}
    same = verify(want, got)
    reason = "" if same else f"got '{got[-1]}', want '{want[-1]}'"
    return row | {"score": float(same), "verdict": "scored", "reason": reason}


def main(source: str, target: str) -> None:
    logging.disable(logging.WARNING)
    with open(source, "rb") as lines, open(target, "wb") as out:
        for line in lines:
            out.write(orjson.dumps(judge(orjson.loads(line))) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
