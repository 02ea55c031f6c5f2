"""The jobs of a pack: a small one of every trainer, on a model and rows made here."""
import json
import re
import subprocess
from pathlib import Path

CHARACTERS = "0123456789+="
STEPS = 3
WITHOUT_ROLLOUTS = {"sft", "dpo", "tdpo", "reward"}


def fulcrum(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"gpu_check: fulcrum {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def trainers(program: Path) -> list[str]:
    """As the program lists them."""
    keys = json.loads(fulcrum(program, "config", "explain", "trainer", "-o", "json"))
    return re.findall(r"[a-z_]+", keys[0]["range"].replace("one of", ""))


def job(trainer: str) -> dict:
    out = {"trainer": trainer, "model_name_or_path": "model", "train_files": ["rows.jsonl"], "max_steps": STEPS,
           "prompts_per_step": 4, "save_steps": STEPS,
           # Rollouts that rounding cannot change: the same policy draws them in every step.
           "learning_rate": 1e-5}
    if trainer not in WITHOUT_ROLLOUTS:
        # On the CPU on both sides: rounding may decide a draw, and then all that follows is another.
        out |= {"num_generations": 3, "max_completion_length": 12, "rollout_device": "cpu",
                "reward_funcs": [{"name": "length", "target": 4}]}
    if trainer == "dph_rl":
        out["presample"] = {"k": 2, "threshold": 1, "rehearsal_per_step": 2}
    if trainer.endswith("dpg"):
        out["reward_funcs"] = [{"name": "regex", "pattern": "[0-4]"}]
        out["f_dpg"] = {"constraints": [{"feature": "regex", "moment": 0.5 if trainer == "f_dpg" else 1}]}
    return out


def write(program: Path, folder: Path) -> list[str]:
    """The trainers' names. Every job is one that the program accepts."""
    folder.mkdir()
    fulcrum(program, "init-model", str(folder / "model"), "--characters", CHARACTERS, "--hidden-size", "64", "--layers", "2",
            "--intermediate-size", "96", "--heads", "4", "--kv-heads", "2", "--max-positions", "64", "--seed", "1")
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as out:
        for i in range(40):
            out.write(json.dumps({"prompt": f"{10 + i % 37}+{i % 9}=", "completion": str(i * 7 % 50),
                                  "chosen": str(i * 3 % 40), "rejected": str(i * 5 % 90 + 1)}) + "\n")
    names = trainers(program)
    for name in names:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(job(name), indent=1) + "\n", encoding="utf-8")
        fulcrum(program, "config", "check", str(path))
    return names
