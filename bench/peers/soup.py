"""The mean of two checkpoints by torch and safetensors: soup.py A B OUT, folders with a model.safetensors."""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main(a: Path, b: Path, out: Path) -> None:
    torch.set_num_threads(1)
    left, right = (load_file(folder / "model.safetensors") for folder in (a, b))
    with torch.no_grad():
        mean = {name: tensor.lerp_(right[name], 0.5) for name, tensor in left.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(mean, out / "model.safetensors")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
