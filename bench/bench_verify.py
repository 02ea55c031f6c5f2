"""`fulcrum score --reward math` beside math-verify: rows in, rows with a verdict out; labels judge both."""
from pathlib import Path
from typing import Iterator

import inputs
from measure import OneCore, alternate, median_of, run_once
from setting import Setting, startup_share

GOAL = 100.0
FORMULA_STARTS = 10  # ours judges them in a few hundredths of a second
PEER_ROUNDING = "tolerance=1e-6"  # math-verify rounds to six decimal places by default


def lines(setting: Setting) -> Iterator[dict]:
    rows = setting.work / "answers.jsonl"
    data = inputs.answers(rows, copies=4) + f"; a sample of ours is the median of {FORMULA_STARTS} starts"
    yield from setting.guarded("verify formulas", "math-verify",
                               lambda: _line(setting, "formulas", rows, data, FORMULA_STARTS))
    rows = setting.work / "solutions.jsonl"
    data = inputs.solutions(rows, copies=6)
    yield from setting.guarded("verify solutions", "math-verify", lambda: _line(setting, "solutions", rows, data))


def _line(setting: Setting, name: str, rows: Path, data: str, starts: int = 1) -> dict:
    def ours(source: Path, target: Path) -> list[str]:
        return [str(setting.fulcrum), "score", "--reward", "math", "--set", PEER_ROUNDING,
                "-i", str(source), "--to", str(target)]

    def peer(source: Path, target: Path) -> list[str]:
        return [*setting.peer("verify_rows.py"), str(source), str(target)]

    made, theirs = setting.work / "ours.jsonl", setting.work / "peer.jsonl"
    disputed = setting.out / f"verify-{name}-disputed.jsonl"
    with OneCore():
        timing = alternate(setting.repeats,
                           lambda: median_of(starts, lambda: run_once(ours(rows, made), setting.log)),
                           lambda: run_once(peer(rows, theirs), setting.log),
                           lambda: _agreement(made, theirs, disputed))
        shares = startup_share(setting, rows, ours, peer, timing)
    return {"bench": "verify", "line": name, "peer_name": "math-verify", "data": data, "goal": GOAL,
            "startup": shares, **timing}


def _agreement(made: Path, theirs: Path, disputed: Path) -> dict:
    """How often each side agrees with the labels; rows on which one does not go to the file `disputed`."""
    rows = right = peer_right = 0
    wrong = {}
    for a, b in inputs.row_pairs(made, theirs):
        ours_says, peer_says = a["score"] == 1, b["score"] == 1
        rows += 1
        right += ours_says == a["label"]
        peer_right += peer_says == a["label"]
        if not ours_says == peer_says == a["label"]:
            wrong[a["solution"], a["completion"]] = {
                "solution": a["solution"], "completion": a["completion"], "label": a["label"],
                "ours": ours_says, "peer": peer_says, "reason": a["reason"]}
    inputs.write_rows(disputed, wrong.values())
    return {"check": f"agree with the labels: ours {right}, peer {peer_right} of {rows}",
            "agreement": {"rows": rows, "ours": right, "peer": peer_right},
            "also_missed": "" if right >= peer_right else "agreement is lower"}
