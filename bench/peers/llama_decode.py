"""llama.cpp on a batch of prompts, completions of forced length: all sequences in one llama_decode call, by the low-level
interface of llama-cpp-python, and llama.cpp's own samplers."""
import json
import sys

import llama_cpp as llama
from serve import serve

# By the type of the weights: that of keys and values, and flash attention. In fp32 flash attention is off, because llama.cpp's
# rounds keys and values to fp16 whatever the cache holds; with bf16 weights it is the fastest there, on an fp16 cache.
ATTENTION = {"float32": (llama.GGML_TYPE_F32, llama.LLAMA_FLASH_ATTN_TYPE_DISABLED),
             "bfloat16": (llama.GGML_TYPE_F16, llama.LLAMA_FLASH_ATTN_TYPE_ENABLED)}
CELLS = 256  # llama.cpp rounds the positions of a sequence up to a multiple


class Batch:
    """The arrays of a call: `rows` sequences with `each` tokens, of which the last gives logits."""

    def __init__(self, rows: int, each: int) -> None:
        self.c = llama.llama_batch_init(rows * each, 0, 1)
        self.c.n_tokens = rows * each
        self.outputs = range(each - 1, rows * each, each)
        for i in range(rows * each):
            self.c.pos[i], self.c.n_seq_id[i], self.c.seq_id[i][0] = i % each, 1, i // each
            self.c.logits[i] = i in self.outputs


def make_context(options: dict, rows: int, prompt: int):
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(options["model"].encode(), llama.llama_model_default_params())
    how = llama.llama_context_default_params()
    how.n_seq_max = rows
    how.n_ctx = rows * CELLS * -(-(prompt + options["new_tokens"]) // CELLS)
    how.n_batch = rows * prompt
    how.n_threads = how.n_threads_batch = options["threads"]
    how.type_k, how.flash_attn_type = ATTENTION[options["dtype"]]
    how.type_v = how.type_k
    how.kv_unified = False  # faster for sequences that share nothing
    return llama.llama_init_from_model(model, how)


def make_sampler(greedy: bool, seed: int):
    """Temperature 1 over the whole vocabulary is `dist` alone."""
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_greedy() if greedy
                                  else llama.llama_sampler_init_dist(seed))
    return chain


def main(options: dict) -> None:
    prompts, new, greedy = options["prompts"], options["new_tokens"], options["greedy"]
    rows, prompt = len(prompts), len(prompts[0])
    context = make_context(options, rows, prompt)
    memory = llama.llama_get_memory(context)
    sampler = make_sampler(greedy, 1)
    first, step = Batch(rows, prompt), Batch(rows, 1)
    for i, token in enumerate(token for ids in prompts for token in ids):
        first.c.token[i] = token

    def decode(batch: Batch) -> list[int]:
        """A token for each row."""
        code = llama.llama_decode(context, batch.c)
        assert code == 0, f"llama_decode said {code}"
        return [llama.llama_sampler_sample(sampler, context, i) for i in batch.outputs]

    def best(batch: Batch, tokens: list[int]) -> list[float]:
        return [llama.llama_get_logits_ith(context, i)[token] for i, token in zip(batch.outputs, tokens)]

    def once() -> dict:
        llama.llama_memory_clear(memory, False)
        tokens, logits, batch, position = [], [], first, prompt
        while True:
            tokens.append(decode(batch))
            if greedy:
                logits.append(best(batch, tokens[-1]))
            if len(tokens) == new:
                return {"tokens": rows * new, "ids": list(zip(*tokens)), "logits": list(zip(*logits))}
            batch = step
            for row, token in enumerate(tokens[-1]):
                step.c.token[row], step.c.pos[row] = token, position
            position += 1

    serve(once)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
