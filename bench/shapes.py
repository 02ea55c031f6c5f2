"""The models of the benches: a Llama with random weights and one token a character, written once by
`fulcrum init-model`; `transformers` reads the same folder."""
import shutil
from pathlib import Path

from measure import run_once
from setting import Setting

SPECIAL = 4  # <pad> <bos> <eos> <unk>
# layers, hidden size, heads, heads of keys and values, intermediate size, vocabulary, tied embeddings
SHAPES = {"tiny": (4, 128, 4, 2, 384, 512, False), "small": (8, 256, 8, 4, 768, 2048, False),
          "135m": (30, 576, 9, 3, 1536, 49152, True)}
FIRST_CHARACTER, SURROGATES = 0x100, range(0xD800, 0xE000)


def alphabet(shape: str) -> str:
    return characters(SHAPES[shape][5])


def characters(vocabulary: int) -> str:
    """As many as a vocabulary of this size has beside the special tokens; character i is token i + 4."""
    made, code = [], FIRST_CHARACTER
    while len(made) < vocabulary - SPECIAL:
        if code not in SURROGATES:
            made.append(chr(code))
        code += 1
    return "".join(made)


def model(setting: Setting, shape: str, seed: int = 1) -> Path:
    folder = setting.work / (f"model-{shape}" if seed == 1 else f"model-{shape}-{seed}")
    if (folder / "config.json").exists():
        return folder
    layers, hidden, heads, kv_heads, intermediate, _, tied = SHAPES[shape]
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    characters = setting.work / "characters.txt"  # too many for a command line
    characters.write_text(alphabet(shape), encoding="utf-8")
    run_once([str(setting.fulcrum), "init-model", str(partial), "--characters-file", str(characters), "--layers",
              str(layers), "--hidden-size", str(hidden), "--heads", str(heads), "--kv-heads", str(kv_heads),
              "--intermediate-size", str(intermediate), "--max-positions", "2048", "--seed", str(seed),
              *(["--tied"] if tied else [])], setting.log)
    partial.rename(folder)
    return folder
