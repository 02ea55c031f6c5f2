"""`fulcrum tokenize` beside Hugging Face tokenizers: the same tokenizer.json, rows in, rows with ids out."""
from pathlib import Path
from typing import Iterator

import inputs
from measure import OneCore, alternate, run_once
from peer_env import BenchError
from setting import Setting, startup_share

GOAL = 5.0
VOCABULARIES = {"gpt2": ("tok-gpt2/encoder.json", "tok-gpt2/vocab.bpe"),
                "qwen2": ("tok-qwen2/vocab.json", "tok-qwen2/merges.txt")}
TEXT_BYTES = {"gpt2": 24_000_000, "qwen2": 48_000_000, "made": 16_000_000}  # so that start-up is below 5 %


def lines(setting: Setting) -> Iterator[dict]:
    rows = setting.work / "texts.jsonl"
    for name, tokenizer in _tokenizers(setting).items():
        data = inputs.texts(rows, TEXT_BYTES[name])
        yield from setting.guarded(f"tokenize {name}", "tokenizers", lambda: _line(setting, name, tokenizer, rows, data))


def _tokenizers(setting: Setting) -> dict[str, Path]:
    """The vocabularies of the data beside the clone; without it, one that is trained on made text."""
    sources = {name: folder / files[0].split("/")[0] for name, files in VOCABULARIES.items()
               if (folder := inputs.shared(*files))}
    kinds = {name: name for name in sources}
    if not sources:
        sample = setting.work / "sample.jsonl"
        inputs.texts(sample, 2_000_000)
        sources, kinds = {"made": sample}, {"made": "trained"}
    made = {}
    for name, source in sources.items():
        made[name] = setting.work / f"{name}.tokenizer.json"
        run_once([*setting.peer("make_tokenizer.py"), kinds[name], str(source), str(made[name])], setting.log)
    return made


def _line(setting: Setting, name: str, tokenizer: Path, rows: Path, data: str) -> dict:
    def ours(source: Path, target: Path) -> list[str]:
        return [str(setting.fulcrum), "tokenize", "-m", str(tokenizer), "--no-special",
                "-i", str(source), "--to", str(target)]

    def peer(source: Path, target: Path) -> list[str]:
        return [*setting.peer("tokenize_rows.py"), str(tokenizer), str(source), str(target)]

    made, theirs = setting.work / "ours.jsonl", setting.work / "peer.jsonl"
    with OneCore():
        timing = alternate(setting.repeats, lambda: run_once(ours(rows, made), setting.log),
                           lambda: run_once(peer(rows, theirs), setting.log),
                           lambda: {"check": f"ids identical, {_same_ids(made, theirs)} tokens"})
        shares = startup_share(setting, rows, ours, peer, timing)
    return {"bench": "tokenize", "line": name, "peer_name": "tokenizers", "data": data, "goal": GOAL,
            "startup": shares, **timing}


def _same_ids(made: Path, theirs: Path) -> int:
    """How many tokens there are, if both gave the same rows."""
    tokens = 0
    for number, (a, b) in enumerate(inputs.row_pairs(made, theirs), 1):
        if a != b:
            raise BenchError(f"row {number} differs from the peer's; nothing is timed", 1)
        tokens += len(a["ids"])
    return tokens
