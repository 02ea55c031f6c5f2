"""The output head with its loss (log-probs of the targets) or with the full KL from a reference, forward and
backward, by torch with full logits, by TRL's or Liger's chunked functions or by cut-cross-entropy; the inputs of both sides."""
import json
import sys

import torch
from device import below, normal, peak_mib, wait, watch_memory
from serve import serve


def make_inputs(path: str, coefficient: str, tokens: int, hidden: int, vocabulary: int) -> None:
    from safetensors.torch import save_file
    made = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, hidden, generator=made)
    save_file({"hidden": states, "weight": torch.randn(vocabulary, hidden, generator=made) * 0.05,
               "reference_hidden": states + 0.1 * torch.randn(states.shape, generator=made),
               "ids": torch.randint(vocabulary, (tokens,), generator=made).float(),
               "coefficient": torch.ones(tokens) if coefficient == "ones" else torch.randn(tokens, generator=made),
               "hidden_probe": torch.randn(states.shape, generator=made),
               "weight_probe": torch.randn(vocabulary, hidden, generator=made)}, path)


def made_inputs(shape: dict, device: str) -> dict:
    """As bench/ours/head.cpp makes them."""
    tokens, hidden, vocabulary = shape["tokens"], shape["hidden"], shape["vocabulary"]
    states, coefficient = normal(device, 0, tokens, hidden), normal(device, 4, tokens).abs()
    if "coefficient" in shape:
        coefficient.fill_(shape["coefficient"])
    return {"hidden": states, "weight": normal(device, 1, vocabulary, hidden) * shape["weight_scale"],
            "reference_hidden": normal(device, 2, tokens, hidden) * 0.5 + states,
            "ids": below(device, 3, vocabulary, tokens), "coefficient": coefficient,
            "hidden_probe": normal(device, 5, tokens, hidden), "weight_probe": normal(device, 6, vocabulary, hidden)}


def chunked(chunk: int, full):
    """`full` on some targets at a time, each chunk computed again in its backward pass."""
    from torch.utils.checkpoint import checkpoint

    def value(h, w, y, hr, wr):
        return torch.cat([checkpoint(full, h[i:i + chunk], w, y[i:i + chunk], hr[i:i + chunk], wr, use_reentrant=False)
                          for i in range(0, len(h), chunk)])
    return value


def liger_triton(kind: str):
    """Liger's fused kernels, which need a GPU."""
    if kind == "loss":
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as fused
        # With its own mean over the targets: coefficients of its own are not among what it takes.
        return lambda h, w, y, hr, wr: fused.apply(h, w, y)[0].neg().reshape(1)
    from liger_kernel.ops.fused_linear_jsd import LigerFusedLinearJSDFunction as fused
    return lambda h, w, y, hr, wr: fused.apply(h, w, hr, wr, None, 0.5, -100, 1.0).reshape(1)


def liger_chunked(kind: str, coefficient: torch.Tensor):
    """Liger's `chunked_loss`, in plain torch, which runs on a CPU: means over the targets."""
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss, LigerFusedLinearJSDLoss
    if kind == "loss":
        # CISPO without old log-probs: advantage times log-prob. A target is a row, so that each has its own advantage, and
        # all rows are one chunk; the function has chunks of its own within.
        grpo = LigerFusedLinearGRPOLoss(beta=0.0, use_ref_model=False, loss_type="cispo", epsilon_high=5.0,
                                        chunk_size=len(coefficient))
        mask = torch.ones(len(coefficient), 1)
        return lambda h, w, y, hr, wr: grpo(h[:, None], w, y[:, None], mask, coefficient)[0].neg().reshape(1)
    jsd = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0)  # KL(reference || policy)
    return lambda h, w, y, hr, wr: jsd(h, w, hr, wr, y).reshape(1)


def values(kind: str, peer: str, coefficient: torch.Tensor):
    if peer == "torch-chunked":
        return chunked(1024, values(kind, "torch", coefficient))
    if peer == "liger-chunked":
        return liger_chunked(kind, coefficient)
    if peer == "liger-triton":
        return liger_triton(kind)
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
    device = options.get("device", "cpu")
    if "made" in options:
        given = made_inputs(options["made"], device)
    else:
        from safetensors.torch import load_file
        given = load_file(options["inputs"])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options["dtype"]]
    hidden, weight, reference_hidden = (given[name].to(dtype).clone()
                                        for name in ("hidden", "weight", "reference_hidden"))
    ids, reference_weight = given["ids"].long(), weight.clone()
    forward_only = options.get("forward_only", False)
    if not forward_only:
        hidden.requires_grad_(), weight.requires_grad_()
    del given["hidden"], given["weight"], given["reference_hidden"]
    value = values(options["kind"], options["peer"], given["coefficient"])
    # Liger's functions give the mean.
    mean = options["peer"] in ("liger-triton", "liger-chunked")
    coefficient, targets = (1.0, 1) if mean else (given["coefficient"], ids.numel())
    first = True
    watch_memory(device)

    def once() -> dict:
        nonlocal first
        hidden.grad = weight.grad = None
        with torch.set_grad_enabled(not forward_only):
            loss = (value(hidden, weight, ids, reference_hidden, reference_weight) * coefficient).sum() / targets
        if not forward_only:
            loss.backward()
        wait(device)
        said = {"value": loss.item(), "peak_mib": peak_mib(device)}
        if first and not forward_only:
            said |= {f"{name}_probe": (x.grad.double() * given[f"{name}_probe"].double()).sum().item()
                     for name, x in (("hidden", hidden), ("weight", weight))}
        first = False
        return said

    serve(once)


if __name__ == "__main__":
    if sys.argv[1] == "inputs":
        make_inputs(*sys.argv[2:4], *map(int, sys.argv[4:]))
    else:
        main(json.loads(sys.argv[1]))
