"""What every bench is given, and what they share."""
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

from measure import Series, is_steady, refuse_if_unsteady, run_once
from peer_env import HERE, BenchError

Command = Callable[[Path, Path], list[str]]


@dataclass
class Setting:
    fulcrum: Path
    python: Path  # the peers' interpreter
    out: Path
    repeats: int
    peer_wanted: str | None = None  # only lines beside this one
    refused: dict[str, BenchError] = field(default_factory=dict)  # the lines that are not reported, and why
    peaks: dict[int, dict] = field(default_factory=dict)  # of the machine, by threads (ceiling.py)

    @property
    def ours(self) -> Path:
        """The program that works on request (served.py)."""
        return self.fulcrum.parent / "fulcrum-bench"

    @property
    def work(self) -> Path:
        return self.out / "work"

    @property
    def log(self) -> Path:
        return self.work / "last.log"

    def peer(self, script: str) -> list[str]:
        return [str(self.python), str(HERE / "peers" / script)]

    def guarded(self, name: str, peer: str | None, line: Callable[[], dict]) -> Iterator[dict]:
        """The line, if it is wanted and can be believed; if it cannot, one line on stderr says why."""
        if self.peer_wanted not in (None, peer):
            return
        print(f"bench: {name}", file=sys.stderr)
        try:
            made = line()
            if not is_steady(made):
                made = self._more_often(name, line)
            refuse_if_unsteady(made)
            yield made
        except BenchError as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            self.refused[name] = error

    def _more_often(self, name: str, line: Callable[[], dict]) -> dict:
        """Once more, whatever the ratio was: medians of more runs are steadier."""
        print(f"bench: {name}: unsteady, once more with twice the repeats", file=sys.stderr)
        self.repeats *= 2
        try:
            return line()
        finally:
            self.repeats //= 2


def startup_share(setting: Setting, rows: Path, ours: Command, peer: Command, timing: dict) -> dict:
    """The part of each side's median that one row alone takes."""
    one, target = setting.work / "one.jsonl", setting.work / "one.out.jsonl"
    with open(rows, "rb") as lines:
        one.write_bytes(lines.readline())
    shares = {}
    for side, command in (("ours", ours), ("peer", peer)):
        runs = [run_once(command(one, target), setting.log) for _ in range(3)]
        shares[side] = Series(runs).median() / timing[side]["median_s"]
    return shares
