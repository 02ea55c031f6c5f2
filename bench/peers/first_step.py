"""TRL's SFTTrainer up to its first optimizer step, on a folder's model and rows: first_step.py MODEL ROWS METRICS. A
line is written to METRICS when the step is done."""
import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class WriteStep(TrainerCallback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_step_end(self, args, state, control, **_) -> None:
        self.path.write_text(f"step {state.global_step}\n")


def main(model: str, rows: str, metrics: str) -> None:
    torch.set_num_threads(1)
    made = [json.loads(line) for line in open(rows, encoding="utf-8")]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(model), train_dataset=Dataset.from_list(made),
        args=SFTConfig(output_dir=str(Path(metrics).parent / "trl"), max_steps=1, per_device_train_batch_size=8, bf16=False,
                       use_cpu=True, report_to="none", gradient_checkpointing=False, save_strategy="no",
                       disable_tqdm=True, dataloader_pin_memory=False))
    trainer.add_callback(WriteStep(Path(metrics)))
    trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
