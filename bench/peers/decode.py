"""transformers' generate on a batch of prompts, completions of forced length; or, with `judged` completions, the logits of
their ids and how far below the best they are."""
import json
import sys

import torch
from device import peak_mib, wait, watch_memory
from serve import serve
from transformers import AutoModelForCausalLM, GenerationConfig


def judge(model, prompts: torch.Tensor, completions: list[list[int]]) -> tuple[list, float]:
    ids = torch.tensor(completions)
    logits = model(torch.cat((prompts, ids), dim=1)).logits[:, prompts.shape[1] - 1:-1]
    chosen = logits.gather(2, ids.unsqueeze(2)).squeeze(2)
    return chosen.tolist(), (logits.amax(2) - chosen).max().item()


def made_prompts(made: dict, vocabulary: int) -> list[list[int]]:
    """As bench/ours/decode.cpp makes them."""
    return [[(r * 1_000_003 + j * j * 31 + j * 7_919) % vocabulary for j in range(made["length"])]
            for r in range(made["count"])]


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    model = AutoModelForCausalLM.from_pretrained(options["model"], dtype=getattr(torch, options["dtype"])).eval()
    device = options.get("device", "cpu")
    model.to(device)
    model.generation_config.eos_token_id = None  # nothing ends a completion early
    prompts = torch.tensor(options["prompts"] if "prompts" in options
                           else made_prompts(options["made"], model.config.vocab_size), device=device)
    prompts = prompts.repeat_interleave(options.get("generations", 1), 0)
    config = GenerationConfig(max_new_tokens=options["new_tokens"], do_sample=not options["greedy"], top_k=0,
                              pad_token_id=0)

    watch_memory(device)

    def once() -> dict:
        with torch.inference_mode():
            if "judged" in options:
                logits, gaps = zip(*(judge(model, prompts, completions) for completions in options["judged"]))
                return {"logits": logits, "gaps": gaps}
            out = model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=config)
        ids = out[:, prompts.shape[1]:]
        assert ids.shape[1] == options["new_tokens"], ids.shape
        wait(device)
        said = {"tokens": ids.numel(), "peak_mib": peak_mib(device)}
        return said | ({"ids": ids.tolist()} if "prompts" in options else {})

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
