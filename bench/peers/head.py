"""The output head with its loss (log-probs of the targets) or with the full KL from a reference, forward and
backward, by torch with full logits, by TRL's chunked functions or by cut-cross-entropy; the inputs of both sides."""
import json
import sys

import torch
from safetensors.torch import load_file, save_file
from serve import serve


def make_inputs(path: str, tokens: int, hidden: int, vocabulary: int) -> None:
    made = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, hidden, generator=made)
    save_file({"hidden": states, "weight": torch.randn(vocabulary, hidden, generator=made) * 0.05,
               "reference_hidden": states + 0.1 * torch.randn(states.shape, generator=made),
               "ids": torch.randint(vocabulary, (tokens,), generator=made).float(),
               "coefficient": torch.randn(tokens, generator=made),
               "hidden_probe": torch.randn(states.shape, generator=made),
               "weight_probe": torch.randn(vocabulary, hidden, generator=made)}, path)


def values(kind: str, peer: str):
    if kind == "loss" and peer == "torch":
        return lambda h, w, y, hr, wr: torch.log_softmax((h @ w.t()).float(), -1).gather(-1, y[:, None])[:, 0]
    if peer == "cut-cross-entropy":
        from cut_cross_entropy import linear_cross_entropy
        return lambda h, w, y, hr, wr: -linear_cross_entropy(h, w, y, reduction="none", impl="torch_compile")
    if kind == "loss":
        from trl.kernels import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as chunk
        return lambda h, w, y, hr, wr: ChunkedLogProbFunction.apply(h, w, None, y, 1.0, chunk, None, 1.0,
                                                                    ("log_probs",))[0]
    if peer == "torch":
        def full(h, w, y, hr, wr):
            with torch.no_grad():
                r = torch.log_softmax((hr @ wr.t()).float(), -1)
            return (r.exp() * (r - torch.log_softmax((h @ w.t()).float(), -1))).sum(-1)
        return full
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction
    return lambda h, w, y, hr, wr: ChunkedDivergenceFunction.apply(h, w, None, hr, wr, None, 0.0)[0]


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    given = load_file(options["inputs"])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options["dtype"]]
    hidden, weight, reference_hidden = (given[name].to(dtype).clone()
                                        for name in ("hidden", "weight", "reference_hidden"))
    ids, reference_weight = given["ids"].long(), weight.clone()
    hidden.requires_grad_(), weight.requires_grad_()
    value = values(options["kind"], options["peer"])
    first = True

    def once() -> dict:
        nonlocal first
        hidden.grad = weight.grad = None
        loss = (value(hidden, weight, ids, reference_hidden, reference_weight)
                * given["coefficient"]).sum() / ids.numel()
        loss.backward()
        said = {"value": loss.item()}
        if first:
            said |= {f"{name}_probe": (x.grad.double() * given[f"{name}_probe"].double()).sum().item()
                     for name, x in (("hidden", hidden), ("weight", weight))}
        first = False
        return said

    serve(once)


if __name__ == "__main__":
    if sys.argv[1] == "inputs":
        make_inputs(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main(json.loads(sys.argv[1]))
