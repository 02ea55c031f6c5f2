"""The change between two bf16 weights as indices and values, found and applied by torch; and the inputs of both sides."""
import json
import sys

import torch
from safetensors.torch import load_file, save_file
from serve import serve


def make_inputs(path: str, weights: int, changed: float) -> None:
    """A part of the weights, taken at random, moves by one unit in the last place, up or down."""
    made = torch.Generator().manual_seed(0)
    base = (torch.randn(weights, generator=made) * 0.02).bfloat16()
    moves = torch.rand(weights, generator=made) < changed
    steps = torch.where(moves, torch.randint(2, (weights,), generator=made) * 2 - 1, 0).to(torch.int16)
    save_file({"base": base, "next": (base.view(torch.int16) + steps).view(torch.bfloat16)}, path)


def difference(base: torch.Tensor, to: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    index = (base != to).nonzero().squeeze(1).int()
    return index, to[index]


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    given = {name: x.view(torch.int16) for name, x in load_file(options["inputs"]).items()}
    base, after = given["base"], given["next"]
    there, back = difference(base, after), difference(after, base)
    size = sum(x.numel() * x.element_size() for x in there)
    at_next = False

    def encode() -> dict:
        difference(base, after)
        return {"bytes": size}

    def apply() -> dict:
        nonlocal at_next
        index, values = back if at_next else there
        base[index] = values
        at_next = not at_next
        return {"bytes": size}

    serve(encode if options["kind"] == "encode" else apply)


if __name__ == "__main__":
    if sys.argv[1] == "inputs":
        make_inputs(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        main(json.loads(sys.argv[1]))
