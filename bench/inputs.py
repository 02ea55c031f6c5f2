"""The rows that the benches read. From the data beside the clone where it is there (FULCRUM_TEST_DATA), else
made from a seed: every line of a report says which."""
import itertools
import json
import os
import random
from pathlib import Path
from typing import Iterable, Iterator

from peer_env import BenchError

SEED = 20240601
CORPUS = ("gsm8k/train.jsonl", "gsm8k/model_solutions_first1000.jsonl", "gsm8k/test_first1000.jsonl",
          "mbpp/mbpp.jsonl", "ifeval/responses_mistral7b_v03.jsonl", "tinystories/stories.jsonl",
          "aqua-rat/test.jsonl", "text2sql/questions.jsonl")
VECTORS = ("tok-gpt2/vectors.json", "tok-gpt2/vectors_llamacpp.json", "tok-qwen2/vectors.json")


def shared(*names: str) -> Path | None:
    """The folder of data, if it holds all of these files."""
    given = os.environ.get("FULCRUM_TEST_DATA")
    if given and all((Path(given) / name).exists() for name in names):
        return Path(given)
    return None


def write_rows(path: Path, rows: Iterable[dict]) -> Path:
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path


def read_rows(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def row_pairs(ours: Path, peer: Path) -> Iterator[tuple[dict, dict]]:
    """What the two sides made of the same rows."""
    for a, b in itertools.zip_longest(read_rows(ours), read_rows(peer)):
        if a is None or b is None:
            raise BenchError("the two sides wrote different numbers of rows; nothing is timed", 1)
        yield a, b


def texts(path: Path, size: int) -> str:
    """Writes rows with `text`, about `size` bytes of text in all; returns what they are."""
    folder = shared(*CORPUS, *VECTORS)
    source = _shared_texts(folder) if folder else _made_texts()
    write_rows(path, ({"text": text} for text in _up_to(source, size)))
    what = "problems, solutions, code, stories and test texts of shared/data" if folder else f"seed {SEED}"
    return f"{what}, {path.stat().st_size / 1e6:.1f} MB of rows"


def _up_to(source: Iterable[str], size: int) -> Iterator[str]:
    total = 0
    for text in source:
        if total >= size:
            return
        total += len(text.encode())
        yield text


def _shared_texts(folder: Path) -> Iterator[str]:
    while True:  # the corpus again and again, until the size is reached
        for name in VECTORS:
            yield from (case["text"] for case in json.loads((folder / name).read_text(encoding="utf-8")))
        for name in CORPUS:
            for row in read_rows(folder / name):
                yield "\n".join(value for value in row.values() if isinstance(value, str))


def _made_texts() -> Iterator[str]:
    rng = random.Random(SEED)
    heads, tails = "b c d f g h k l m n p r s t v w st tr ch".split(), "a e i o u ai ou".split()
    syllables = [head + tail for head in heads for tail in tails]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(20_000)]
    words += ["Überraschung", "naïve", "Привет", "数学", "こんにちは", "🙂", "don't", "x^2+1", "\n\n", "  "]
    rng.shuffle(words)
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    while True:
        parts = rng.choices(words, cum_weights=weights, k=rng.randint(20, 150))
        for i in range(0, len(parts), 9):
            word = parts[i]
            parts[i] = rng.choice([str(rng.randint(0, 9999)), word.capitalize(), word + ",", word + "."])
        yield " ".join(parts)


def answers(path: Path, copies: int) -> str:
    """Rows whose answers are formulas in many notations, with `label`; the whole list `copies` times."""
    name = "math-equivalence/math_verify_pairs.json"
    folder = shared(name)
    if folder:
        cases = json.loads((folder / name).read_text(encoding="utf-8"))
        rows = [{"completion": c["pred"], "solution": c["gold"], "label": c["expected"]} for c in cases]
    else:
        rows = list(_made_answers(200))
    write_rows(path, rows * copies)
    return f"{name if folder else f'seed {SEED}'}, {len(rows)} pairs x {copies}"


def _made_answers(count: int) -> Iterator[dict]:
    rng = random.Random(SEED)
    for i in range(count):
        a, b, k = rng.randint(2, 30), rng.randint(2, 30), rng.randint(2, 9)
        want, same, other = [
            (rf"\frac{{{a}}}{{{a + b}}}", rf"\frac{{{a * k}}}{{{(a + b) * k}}}",
             rf"\frac{{{a + 1}}}{{{a + b}}}"),
            (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x+{a})(x-{b})"),
            (rf"{k}\sqrt{{{a}}}", rf"\sqrt{{{k * k * a}}}", rf"\sqrt{{{k * a + k * k * a}}}"),
            (f"({a}, {b})", f"({a * k}/{k}, {b})", f"({a}, {b + 1})"),
            (f"{a / 8}", rf"\frac{{{a}}}{{8}}", rf"\frac{{{a + 1}}}{{8}}"),
        ][i % 5]
        label = rng.random() < 0.7
        yield {"completion": rf"So the answer is $\boxed{{{same if label else other}}}$.",
               "solution": f"${want}$", "label": label}


def solutions(path: Path, copies: int) -> str:
    """Rows whose completions are worked solutions that end in a number, with `label`."""
    name = "gsm8k/model_solutions_first1000.jsonl"
    folder = shared(name)
    rows = [{"completion": row["solution"], "solution": str(row["answer"]), "label": row["is_correct"]}
            for row in read_rows(folder / name)] if folder else list(_made_solutions(4000))
    write_rows(path, rows * copies)
    return f"{name if folder else f'seed {SEED}'}, {len(rows)} rows x {copies}"


def _made_solutions(count: int) -> Iterator[dict]:
    rng = random.Random(SEED)
    for _ in range(count):
        a, b, c = rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 12)
        label = rng.random() < 0.5
        got = (a + b) * c + (0 if label else rng.randint(1, 9))
        yield {"completion": f"There are {a} + {b} = <<{a}+{b}={a + b}>>{a + b} apples in a box.\n"
                             f"{c} boxes hold {a + b} * {c} = <<{a + b}*{c}={got}>>{got} apples.\nA: {got}",
               "solution": str((a + b) * c), "label": label}
