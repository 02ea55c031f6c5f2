"""Clipping by the norm of all gradients and one fused AdamW update, by torch; with `rounded`, copies in bf16 too."""
import json
import sys

import torch
from device import normal, peak_mib, wait, watch_memory
from serve import serve


def read_leaves(options: dict) -> list:
    from safetensors.torch import load_file
    gradients = load_file(options["gradients"])
    leaves = []
    for name, weight in load_file(options["weights"]).items():
        leaf = weight.clone().requires_grad_()
        leaf.grad = gradients[name].clone()
        leaves.append(leaf)
    return leaves


def made_leaves(shapes: list, device: str) -> list:
    """As bench/ours/optimizer.cpp makes them."""
    leaves = []
    for i, shape in enumerate(shapes):
        leaf = (normal(device, 2 * i + 1, *shape) * 0.02).requires_grad_()
        leaf.grad = normal(device, 2 * i + 2, *shape)
        leaves.append(leaf)
    return leaves


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    device = options.get("device", "cpu")
    leaves = made_leaves(options["made"], device) if "made" in options else read_leaves(options)
    decayed = [x for x in leaves if x.dim() >= 2]
    others = [x for x in leaves if x.dim() < 2]
    adamw = torch.optim.AdamW([{"params": decayed, "weight_decay": options["weight_decay"]},
                               {"params": others, "weight_decay": 0.0}], lr=options["learning_rate"], fused=True)
    copies = [x.detach().bfloat16() for x in leaves] if options.get("rounded") else []
    first = True
    watch_memory(device)

    def once() -> dict:
        nonlocal first
        said = {"norm": torch.nn.utils.clip_grad_norm_(leaves, 1.0).item()}
        adamw.step()
        if copies:
            torch._foreach_copy_(copies, [x.detach() for x in leaves])
        wait(device)
        said["peak_mib"] = peak_mib(device)
        if first:
            with torch.no_grad():
                said["probe"] = sum((w * w.grad.sign()).sum(dtype=torch.float64).item() for w in leaves)
        first = False
        return said

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
