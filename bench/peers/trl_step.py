"""TRL's DPOTrainer or GRPOTrainer, one training step for each request."""
import json
import sys
import time

import torch
from datasets import Dataset
from serve import say, wait_for_request
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback


class OnRequest(TrainerCallback):
    def __init__(self) -> None:
        self.begin, self.said = 0.0, {}

    def on_train_begin(self, args, state, control, **_) -> None:
        say({"ready": True})

    def on_step_begin(self, args, state, control, **_) -> None:
        # GRPO generates before its step begins: a step is counted from the end of the one before.
        if state.global_step == 0:
            self._wait(control)

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            said = {"loss": logs["loss"], "mean_length": logs.get("completions/mean_length")}
            say(said | {"seconds": time.perf_counter() - self.begin})
            self._wait(control)

    def _wait(self, control) -> None:
        if not wait_for_request():
            control.should_training_stop = True
        self.begin = time.perf_counter()


def target_length(completion_ids, **_) -> list[float]:
    """fulcrum's `length` reward with target 32."""
    return [max(0.0, 1 - abs(len(ids) - 32) / 32) for ids in completion_ids]


def trainer(options: dict):
    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    rows = [json.loads(line) for line in open(options["rows"], encoding="utf-8")]
    load = lambda: AutoModelForCausalLM.from_pretrained(options["model"], dtype=torch.float32)
    shared = dict(output_dir=options["folder"], max_steps=100_000, bf16=False, use_cpu=True, report_to="none",
                  gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, logging_steps=1,
                  dataloader_pin_memory=False, learning_rate=options["learning_rate"],
                  lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0)
    if options["kind"] == "dpo":
        from trl import DPOConfig, DPOTrainer
        return DPOTrainer(model=load(), ref_model=load(), train_dataset=Dataset.from_list(rows),
                          args=DPOConfig(per_device_train_batch_size=len(rows), beta=0.1, **shared),
                          processing_class=tokenizer)
    from trl import GRPOConfig, GRPOTrainer
    return GRPOTrainer(model=load(), reward_funcs=target_length, train_dataset=Dataset.from_list(rows),
                       args=GRPOConfig(per_device_train_batch_size=options["prompts"] * options["generations"],
                                       num_generations=options["generations"], temperature=1.0, beta=0.0,
                                       max_completion_length=options["new_tokens"], **shared),
                       processing_class=tokenizer)


def main(options: dict) -> None:
    torch.set_num_threads(options["threads"])
    made = trainer(options)
    made.remove_callback(PrinterCallback)  # it prints to stdout
    made.add_callback(OnRequest())
    made.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
