"""The lines of speed.py: shapes, peers, goals. The goals were set before anything was measured."""
import sys
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))


def _model(layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, inner: int, vocabulary: int) -> dict:
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": layers,
            "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
            "intermediate_size": inner, "vocab_size": vocabulary, "tie_word_embeddings": True, "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0, "max_position_embeddings": 32768, "hidden_act": "silu", "attention_bias": False,
            "bos_token_id": 1, "eos_token_id": None, "torch_dtype": "bfloat16"}


# Shapes of models that people train; the weights are random, and no token ends a completion.
MODELS = {"0.6b": _model(28, 1024, 16, 8, 128, 3072, 151936), "1b": _model(16, 2048, 32, 8, 64, 8192, 128256),
          "tiny": _model(2, 64, 4, 2, 16, 128, 512)}


@dataclass
class Line:
    group: str  # "G1"
    title: str
    op: str  # of fulcrum-bench
    options: dict
    data: str
    script: str | None = None  # of bench/peers
    peer_options: dict = field(default_factory=dict)
    peer_name: str = ""
    needs: str | None = None  # a Python module of the peer
    model: str | None = None
    goal: float | None = None
    flops: float = 0.0  # the least it must do
    bytes: float = 0.0
    keys: tuple[str, ...] = ("value", "hidden_probe", "weight_probe")
    compared: int = 2
    tolerance: float = 0.1
    prompt: int = 0  # tokens, of a whole job (whole_job.py)
    seconds: float = 90  # of the line, all of it
    least_seconds: float = 20  # to begin it

    @property
    def name(self) -> str:
        return f"{self.group} {self.title}"


def ceiling(device: str, small: bool) -> dict:
    return {"device": device, "size": 256 if small else 8192, "bytes": 2**20 if small else 4 * 2**30}


def lines(device: str, small: bool) -> Iterator[Line]:
    yield from _losses(small)
    yield from _divergences(small)
    yield from _optimizers(small)
    yield from _steps(device, small)
    yield from _generation(small)
    yield from _means(small)
    yield from _generators(small)


def _head(shape: tuple[int, int, int], kind: str, divergence: str = "forward_kl", coefficient: float | None = None) -> dict:
    tokens, hidden, vocabulary = shape
    made = {"tokens": tokens, "hidden": hidden, "vocabulary": vocabulary, "weight_scale": 2 / hidden**0.5}
    return {"made": made | ({} if coefficient is None else {"coefficient": coefficient}), "kind": kind, "dtype": "bf16",
            "divergence": divergence, "chunk": min(4096, tokens)}


def _losses(small: bool) -> Iterator[Line]:
    shapes = [(64, 32, 512)] if small else [(8192, 4096, 131072), (8192, 1024, 151936), (8192, 2048, 128256),
                                            (8192, 576, 49152)]
    for i, shape in enumerate(shapes):
        size = " x ".join(map(str, shape))
        flops = 6.0 * prod(shape)
        # peer, its name, module, goal, constant coefficient (Liger takes none of its own)
        peers = [("torch-chunked", "torch in chunks", None, 3.0, None)]
        if i < 2:
            peers += [("torch", "torch, full logits", None, None, None), ("trl", "TRL chunked", "trl.kernels", 5.0, None),
                      ("liger-triton", "Liger Triton", "liger_kernel", 1.25, 1.0)]
        for peer, name, module, goal, coefficient in peers:
            yield Line("G1", f"loss {size}, {peer}", "head", _head(shape, "loss", coefficient=coefficient),
                       f"log-probs of {shape[0]} targets, bf16, forward and backward", "head.py", {"peer": peer}, name,
                       module, goal=goal, flops=flops)
        if i == 0:
            yield Line("G1", f"loss {size}, forward", "head", _head(shape, "loss") | {"forward_only": True},
                       f"log-probs of {shape[0]} targets, bf16, forward alone", "head.py",
                       {"peer": "torch"}, "torch, full logits", flops=flops / 3)


def _divergences(small: bool) -> Iterator[Line]:
    shapes = [(64, 32, 512)] if small else [(8192, 4096, 128256), (8192, 1024, 151936)]
    for i, shape in enumerate(shapes):
        size, flops = " x ".join(map(str, shape)), 8.0 * prod(shape)
        yield Line("G2", f"forward KL {size}, torch", "head", _head(shape, "divergence"),
                   f"KL(reference || policy) of {shape[0]} targets, bf16, forward and backward", "head.py",
                   {"peer": "torch"}, "torch, full logits", goal=3.0, flops=flops)
        # Ours is twice the Jensen-Shannon divergence that Liger has.
        yield Line("G2", f"JS {size}, liger-triton", "head", _head(shape, "divergence", "js_divergence", 0.5),
                   f"Jensen-Shannon divergence of {shape[0]} targets, bf16, forward and backward", "head.py",
                   {"peer": "liger-triton"}, "Liger Triton", "liger_kernel", goal=3.0, flops=flops)


def _generators(small: bool) -> Iterator[Line]:
    shape = (64, 32, 512) if small else (4096, 1024, 151936)
    for name in ("js_divergence", "reverse_kl", "forward_kl", "alpha_divergence", "total_variation", "chi_squared",
                 "reverse_chi_squared", "hellinger", "jeffreys", "chi_po"):
        yield Line("G2", f"{name} alone", "head", _head(shape, "divergence", name),
                   f"{shape[0]} targets, {shape[1]} wide, {shape[2]} tokens, bf16; none may take 1.08 times js_divergence's time",
                   flops=8.0 * prod(shape), compared=1)


def _optimizers(small: bool) -> Iterator[Line]:
    import made_model
    for name, rounded in product(("tiny",) if small else ("0.6b", "1b"), (False, True)):
        shapes = list(made_model.shapes(MODELS[name]).values())
        count = sum(map(prod, shapes))
        # Read: the gradient for the norm; gradient, weight, both moments. Written: weight and moments, and the copy.
        yield Line("G6", f"AdamW {name}" + (", bf16 copies" if rounded else ""), "optimizer",
                   {"made": shapes, "learning_rate": 1e-3, "weight_decay": 0.01, "rounded": rounded},
                   f"{count / 1e6:.0f}M fp32 weights, gradients clipped to norm 1", "optimizer.py", {},
                   "torch fused, clip_grad_norm_" + (", _foreach_copy_" if rounded else ""), goal=1.3,
                   bytes=(32.0 + (2 if rounded else 0)) * count, keys=("norm", "probe"), compared=1,
                   tolerance=1e-3)  # torch clips the gradients where they are


def _steps(device: str, small: bool) -> Iterator[Line]:
    # model, rows, prompt, completion, trainer, peer's name, its options, goal
    cases = [("tiny", 2, 1, 31, "sft", "transformers", {}, None), ("tiny", 2, 16, 16, "dpo", "transformers", {}, None)]
    if not small:
        cases = [("0.6b", 8, 1, 2047, "sft", "transformers", {}, 2.5),
                 ("0.6b", 8, 1, 2047, "sft", "transformers, compiled", {"compile": True}, 1.3),
                 ("0.6b", 32, 256, 256, "dpo", "transformers", {}, 2.5),
                 ("1b", 8, 1, 2047, "sft", "transformers", {}, 2.5),
                 ("0.6b", 1, 1, 16383, "sft", "transformers", {}, 2.5),
                 ("1b", 1, 1, 16383, "sft", "transformers", {}, None)]
    for model, count, prompt, completion, trainer, name, options, goal in cases:
        parts = 2 if trainer == "dpo" else 1
        passes = 4 if trainer == "dpo" else 3  # forward, two for the gradients; the reference's
        shape = MODELS[model]
        body, head = products(shape)
        tokens, targets = count * (prompt + parts * completion), count * parts * completion
        yield Line("G5", f"{trainer} {model}, {count} x {prompt}+{completion}, {name}", "train",
                   {"dtype": "bf16", "trainer": trainer, "rows": {"count": count, "prompt": prompt, "completion": completion},
                    "max_tokens": 32768, "chunk": 4096, "learning_rate": 1e-5},
                   f"{tokens} tokens, {targets} targets, a prompt once; AdamW and clipping are part of the step",
                   "train_step.py", options, name, "transformers", model, goal,
                   flops=2.0 * passes * (body * tokens + head * targets), keys=("loss",), compared=3, tolerance=2e-2)


def _generation(small: bool) -> Iterator[Line]:
    """Completions of forced length; that they are the right ones is the parity group `generation`. A peak in MiB is the
    host's on our side."""
    # group, model, prompts, generations, prompt, new tokens, goal
    cases = [("G3", "tiny", 2, 1, 8, 8, None), ("G4", "tiny", 2, 4, 8, 8, None)]
    if not small:
        cases = [("G3", "1b", 1, 1, 128, 64, 10.0), ("G3", "0.6b", 1, 1, 128, 64, 10.0), ("G3", "1b", 32, 1, 128, 64, None),
                 ("G4", "0.6b", 64, 8, 512, 128, 8.0), ("G3", "0.6b", 128, 1, 128, 64, None)]
    for group, model, prompts, generations, prompt, new, goal in cases:
        body, head = products(MODELS[model])
        rows = prompts * generations
        yield Line(group, f"{model}, {prompts} prompts x {generations}, {prompt}+{new}", "decode",
                   {"dtype": "bfloat16", "made": {"count": prompts, "length": prompt}, "generations": generations,
                    "new_tokens": new, "greedy": False},
                   f"bf16, {rows * new} tokens drawn", "decode.py", {}, "transformers generate", "transformers", model,
                   goal, flops=2.0 * (body * (prompts * prompt + rows * new) + head * rows * new),
                   bytes=2.0 * (body + head) * new, keys=("tokens",), compared=1, tolerance=0.0)


def products(shape: dict) -> tuple[float, float]:
    """Weights that multiply each token, and each target."""
    attention = 2 * shape["num_attention_heads"] + 2 * shape["num_key_value_heads"]
    layer = shape["hidden_size"] * (attention * shape["head_dim"] + 3 * shape["intermediate_size"])
    return shape["num_hidden_layers"] * layer, shape["hidden_size"] * shape["vocab_size"]


def _means(small: bool) -> Iterator[Line]:
    import made_model
    model = "tiny" if small else "1b"
    count = sum(map(prod, made_model.shapes(MODELS[model]).values()))
    yield Line("G7", f"mean of two {model}", "average", {}, f"{count / 1e6:.0f}M fp32 weights in memory, as a moving reference "
               "takes up half of the policy", "average.py", {}, "torch lerp_", model=model, goal=2.0,
               bytes=4.0 * 3 * count, keys=("probe",), compared=1, tolerance=1e-4)
