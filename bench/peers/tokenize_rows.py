"""What `fulcrum tokenize` does, by Hugging Face tokenizers: rows with `text` in, the same with `ids` out.

JSON is read and written by orjson, the fastest there is, so that the comparison is one of tokenizers.
"""
import sys
from typing import Iterator

import orjson
from tokenizers import Tokenizer

BATCH = 1024


def batches(path: str) -> Iterator[list[dict]]:
    rows: list[dict] = []
    with open(path, "rb") as lines:
        for line in lines:
            rows.append(orjson.loads(line))
            if len(rows) == BATCH:
                yield rows
                rows = []
    yield rows


def main(tokenizer_file: str, source: str, target: str) -> None:
    tokenizer = Tokenizer.from_file(tokenizer_file)
    with open(target, "wb") as out:
        for rows in batches(source):
            encoded = tokenizer.encode_batch_fast([row["text"] for row in rows], add_special_tokens=False)
            for row, encoding in zip(rows, encoded):
                row["ids"] = encoding.ids
                out.write(orjson.dumps(row) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
