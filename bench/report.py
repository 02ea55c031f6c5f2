"""A run's lines as a table, as JSON lines, and as the numbers of docs/performance.md."""
import json
from pathlib import Path

from ceiling import SHARE

BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
MAX_FOREIGN_CORES = 0.2  # with more, times may agree with each other and still be too long
HEAD = ("line", "ours", "peer", "ratio", "goal", "goal is", "peak MiB", "A/A", "start-up", "check")


def write_json(path: Path, lines: list[dict]) -> None:
    with open(path, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def judged(line: dict) -> dict:
    """The line with its ratio to the peer and whether its goal is met (None: it has no goal). Where the least time
    the machine needs is known, the goal is at most 85 % of the ratio that this time would give."""
    ours, peer = line["ours"]["median_s"], line["peer"]
    ratio = peer["median_s"] / ours if peer else None
    met = None
    if "goal" in line and "floor_s" in line:
        ceiling = peer["median_s"] / line["floor_s"]
        line = line | {"figure": line["goal"], "ceiling": ceiling, "goal": min(line["goal"], max(1.0, SHARE * ceiling))}
    if "goal" in line:
        met = ratio >= line["goal"] and not line.get("also_missed")
    elif "goal_ms" in line:
        met = ours * 1e3 < line["goal_ms"] and not line.get("also_missed")
    return line | {"ratio": ratio, "met": met}


def table(lines: list[dict]) -> str:
    rows = [HEAD, *(cells(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def cells(line: dict) -> tuple[str, ...]:
    ours, peer, start = line["ours"], line["peer"], line.get("startup")
    return (f"{line['bench']} {line['line']}",
            time_text(ours),
            f"{line['peer_name']} {time_text(peer)}" if peer else "-",
            f"{line['ratio']:.2f}x" if peer else "-",
            goal_text(line),
            verdict_text(line),
            " / ".join(memory_text(side) for side in (ours, peer) if side),
            f"{line['aa_percent']:.1f} %",
            f"{100 * start['ours']:.1f} / {100 * start['peer']:.1f} %" if start else "-",
            line["check"])


def goal_text(line: dict) -> str:
    if "goal_ms" in line:
        return f"< {line['goal_ms']:g} ms"
    if "goal" not in line:
        return "-"
    if line["goal"] < line.get("figure", line["goal"]):
        return f">= {line['goal']:.2f}x ({line['figure']:g}x; ceiling {line['ceiling']:.2f}x)"
    return f">= {line['goal']:.3g}x"


def verdict_text(line: dict) -> str:
    """`also_missed`: what a line promises beside its time and does not keep. Beside other work both sides may be slower
    alike, and no goal is judged without a mark."""
    if line["met"] is None:
        return "-"
    slow = "goal" in line and line["ratio"] < line["goal"]
    said = "met" if line["met"] else "missed" if slow or not line.get("also_missed") else f"missed: {line['also_missed']}"
    return said + (", beside other work" if line["foreign_cores"] > MAX_FOREIGN_CORES else "")


def time_text(side: dict) -> str:
    return f"{scaled(side['median_s'])} ({scaled(side['min_s'])} to {scaled(side['max_s'])})"


def scaled(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def memory_text(side: dict) -> str:
    return ("<= " if side["peak_is_bound"] else "") + f"{side['peak_mib']:.0f}"


def notes(machine: dict, lines: list[dict]) -> list[str]:
    peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    foreign = max((line["foreign_cores"] for line in lines), default=0.0)
    made = [f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux "
            f"{machine['kernel']}; at most {foreign:.2f} cores busy with other work.",
            f"Versions: {machine['fulcrum']} at {machine['commit']}; Python {machine['python']}; {peers}.",
            *machine.get("ceilings", [])]
    for line in lines:
        used = [f"{side['cores_used']:.2f}" for side in (line["ours"], line["peer"]) if side]
        made.append(f"{line['bench']} {line['line']}: {line['data']}; {line['ours']['repeats']} runs of ours"
                    + (f", {line['peer']['repeats']} of the peer" if line["peer"] else "")
                    + f"; cores used {' / '.join(used)}.")
    return made


def markdown(lines: list[dict]) -> str:
    head = "| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD)
    body = "\n".join("| " + " | ".join(cells(line)) + " |" for line in lines).replace("<", "&lt;")
    return f"{head}\n{body}"


def record(page: Path, machine: dict, lines: list[dict], missing: dict[str, str]) -> None:
    """Puts the numbers of one run between the page's markers, and why lines have none."""
    said = "\n".join(f"- {note}" for note in notes(machine, lines))
    said += "".join(f"\n- Not reported: {name}: {why}." for name, why in missing.items())
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\nRun of {machine['date']}.\n\n{markdown(lines)}\n\n{said}\n{END}{after}",
                    encoding="utf-8")
