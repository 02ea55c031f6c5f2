"""TRL's DPOTrainer or GRPOTrainer, one training step for each request. On a GPU what the allocator keeps in reserve is given
back after each: ours works there, too."""
import json
import re
import sys
import time

import torch
from datasets import Dataset
from device import peak_mib, wait, watch_memory
from serve import say, wait_for_request
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback


class OnRequest(TrainerCallback):
    def __init__(self, device: str) -> None:
        self.begin, self.device = 0.0, device

    def on_train_begin(self, args, state, control, **_) -> None:
        say({"ready": True})

    def on_step_begin(self, args, state, control, **_) -> None:
        # GRPO generates before its step begins: a step is counted from the end of the one before.
        if state.global_step == 0:
            self._wait(control)

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            said = {"loss": logs["loss"], "mean_length": logs.get("completions/mean_length"), "reward": logs.get("reward")}
            wait(self.device)
            seconds, peak = time.perf_counter() - self.begin, peak_mib(self.device)
            watch_memory(self.device)
            say(said | {"seconds": seconds} | ({"peak_mib": peak} if peak else {}))
            self._wait(control)

    def _wait(self, control) -> None:
        if not wait_for_request():
            control.should_training_stop = True
        self.begin = time.perf_counter()


def target_length(completion_ids, **_) -> list[float]:
    """fulcrum's `length` reward with target 32."""
    return [max(0.0, 1 - abs(len(ids) - 32) / 32) for ids in completion_ids]


def matcher(pattern: str):
    """fulcrum's `regex` reward."""
    def matches(completions, **_) -> list[float]:
        return [float(bool(re.search(pattern, text))) for text in completions]
    return matches


def trainer(options: dict):
    device = options.get("device", "cpu")
    tokenizer = AutoTokenizer.from_pretrained(options.get("tokenizer", options["model"]))
    rows = [json.loads(line) for line in open(options["rows"], encoding="utf-8")]
    load = lambda: AutoModelForCausalLM.from_pretrained(options["model"], dtype=getattr(torch, options.get("weights", "float32")))
    shared = dict(output_dir=options["folder"], max_steps=100_000, bf16=options.get("autocast", False), use_cpu=device == "cpu",
                  report_to="none",
                  gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, logging_steps=1,
                  dataloader_pin_memory=False, learning_rate=options["learning_rate"],
                  lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0)
    if options["kind"] == "dpo":
        from trl import DPOConfig, DPOTrainer
        return DPOTrainer(model=load(), ref_model=load(), train_dataset=Dataset.from_list(rows),
                          args=DPOConfig(per_device_train_batch_size=len(rows), beta=0.1, **shared),
                          processing_class=tokenizer)
    from trl import GRPOConfig, GRPOTrainer
    more, count = {}, options["prompts"] * options["generations"]
    at_once = options.get("rows_at_once", count)
    if options.get("forced"):  # TRL wants an end: one that the model has no row for, and so never draws
        tokenizer.add_special_tokens({"eos_token": "<end>"})
    if options.get("continuous_batching"):
        more["use_transformers_continuous_batching"] = True
    reward = matcher(options["pattern"]) if "pattern" in options else target_length
    return GRPOTrainer(model=load(), reward_funcs=reward, train_dataset=Dataset.from_list(rows),
                       args=GRPOConfig(per_device_train_batch_size=at_once, gradient_accumulation_steps=count // at_once,
                                       num_generations=options["generations"], temperature=1.0, beta=0.0,
                                       max_completion_length=options["new_tokens"], **more, **shared),
                       processing_class=tokenizer)


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    made = trainer(options)
    made.remove_callback(PrinterCallback)  # it prints to stdout
    made.add_callback(OnRequest(options.get("device", "cpu")))
    made.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
