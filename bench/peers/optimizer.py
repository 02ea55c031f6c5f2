"""Clipping by the norm of all gradients and one fused AdamW update, by torch."""
import json
import sys

import torch
from safetensors.torch import load_file
from serve import serve


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    gradients = load_file(options["gradients"])
    leaves = []
    for name, weight in load_file(options["weights"]).items():
        leaf = weight.clone().requires_grad_()
        leaf.grad = gradients[name].clone()
        leaves.append(leaf)
    del gradients
    decayed = [x for x in leaves if x.dim() >= 2]
    others = [x for x in leaves if x.dim() < 2]
    adamw = torch.optim.AdamW([{"params": decayed, "weight_decay": options["weight_decay"]},
                               {"params": others, "weight_decay": 0.0}], lr=options["learning_rate"], fused=True)
    first = True

    def once() -> dict:
        nonlocal first
        said = {"norm": torch.nn.utils.clip_grad_norm_(leaves, 1.0).item()}
        adamw.step()
        if first:
            with torch.no_grad():
                said["probe"] = sum((w * w.abs()).sum(dtype=torch.float64).item() for w in leaves)
        first = False
        return said

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
