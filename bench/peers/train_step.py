"""A training step by transformers: the model in fp32 under autocast to bf16, SDPA attention, torch's fused AdamW, clipping
to norm 1. Rows of one length side by side in a batch; of dpo chosen and rejected, with a frozen reference."""
import json
import sys

import torch
from device import peak_mib, wait, watch_memory
from made_model import tensors_of
from serve import serve
from transformers import LlamaConfig, LlamaForCausalLM


def load(options: dict) -> LlamaForCausalLM:
    config = json.load(open(options["model"] + "/config.json"))
    config = LlamaConfig(**{k: v for k, v in config.items() if k != "architectures"})
    config._attn_implementation = "sdpa"
    with torch.device(options["device"]):
        model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        named = dict(model.named_parameters())
        for name, tensor in tensors_of(options["model"]).items():
            named[name].copy_(tensor)
    return model


def tokens(r: int, p: int, n: int, vocabulary: int) -> list[int]:
    """As bench/ours/train.cpp has them."""
    return [(r * 1_000_003 + p * 10_007 + j * j * 31 + j * 7_919) % vocabulary for j in range(n)]


def logps(model, ids: torch.Tensor, prompt: int) -> torch.Tensor:
    """Of the tokens after the prompt, by row."""
    logits = model(ids, logits_to_keep=ids.shape[1] - prompt + 1, use_cache=False).logits[:, :-1]
    return -torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, prompt:].flatten(),
                                              reduction="none").view(len(ids), -1)


def main(options: dict) -> None:
    device, dpo = options["device"], options["trainer"] == "dpo"
    torch.set_num_threads(options["threads"])
    model = load(options)
    reference = load(options).requires_grad_(False) if dpo else None
    if options.get("recompute"):
        model.gradient_checkpointing_enable()
    model.train()
    forward = torch.compile(model) if options.get("compile") else model
    adamw = torch.optim.AdamW(model.parameters(), lr=options["learning_rate"], weight_decay=0.0, fused=device != "cpu")
    count, prompt, completion = (options["rows"][key] for key in ("count", "prompt", "completion"))
    vocabulary = model.config.vocab_size
    # Of dpo the chosen rows first, then the rejected ones.
    ids = torch.tensor([tokens(r, 0, prompt, vocabulary) + tokens(r, p, completion, vocabulary)
                        for p in ((1, 2) if dpo else (1,)) for r in range(count)], device=device)
    each = max(1, options["max_tokens"] // ids.shape[1])  # rows of a micro-batch
    watch_memory(device)

    def loss_of(part: torch.Tensor) -> torch.Tensor:
        own = logps(forward, part, prompt)
        if not dpo:
            return -own.sum() / (ids.shape[0] * (ids.shape[1] - prompt))
        with torch.no_grad():
            theirs = logps(reference, part, prompt)
        chosen, rejected = (own - theirs).sum(1).chunk(2)
        return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).sum() / count

    def micro_batches():
        if not dpo:
            yield from ids.split(each)
            return
        chosen, rejected = ids.chunk(2)
        for a, b in zip(chosen.split(max(1, each // 2)), rejected.split(max(1, each // 2))):
            yield torch.cat([a, b])

    def once() -> dict:
        adamw.zero_grad(set_to_none=True)
        total = 0.0
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=options["dtype"] == "bf16"):
            for part in micro_batches():
                loss = loss_of(part)
                loss.backward()
                total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        wait(device)
        return {"loss": float(total), "peak_mib": peak_mib(device)}

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
