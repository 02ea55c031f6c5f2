"""Writes the tokenizer.json that both sides read: of GPT-2's or Qwen2's files, or trained on rows of text."""
import json
import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
TRAINED_VOCABULARY = 8192


def gpt2(folder: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(f"{folder}/encoder.json", f"{folder}/vocab.bpe"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def qwen2(folder: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(f"{folder}/vocab.json", f"{folder}/merges.txt"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def trained(rows: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=TRAINED_VOCABULARY, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = (json.loads(line)["text"] for line in Path(rows).read_text().splitlines())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main(kind: str, source: str, target: str) -> None:
    tokenizer = {"gpt2": gpt2, "qwen2": qwen2, "trained": trained}[kind](source)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
