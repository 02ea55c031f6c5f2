"""A model of random weights in a folder, in bf16, by torch alone: made_model.py FOLDER CONFIG, where CONFIG is the JSON of
its config.json. Both sides of a bench read it. torch is imported where it is needed: who only asks for shapes may have none."""
import json
import struct
import sys
from math import prod
from pathlib import Path

ALIGNMENT = 64


def shapes(config: dict) -> dict[str, list[int]]:
    width, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    out = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width]}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = [vocabulary, width]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        out |= {layer + "input_layernorm.weight": [width], layer + "post_attention_layernorm.weight": [width],
                layer + "self_attn.q_proj.weight": [queries, width], layer + "self_attn.k_proj.weight": [keys, width],
                layer + "self_attn.v_proj.weight": [keys, width], layer + "self_attn.o_proj.weight": [width, queries],
                layer + "mlp.gate_proj.weight": [inner, width], layer + "mlp.up_proj.weight": [inner, width],
                layer + "mlp.down_proj.weight": [width, inner]}
    return out


def write(folder: Path, config: dict, device: str = "cpu") -> None:
    import torch
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    header, place = {}, 0
    for name, shape in shapes(config).items():
        size = 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    made = torch.Generator(device).manual_seed(0)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes(config).values():
            tensor = (torch.randn(*shape, generator=made, device=device) * 0.02 if len(shape) == 2
                      else torch.ones(*shape, device=device)).to(torch.bfloat16)
            out.write(tensor.cpu().view(torch.uint8).numpy().tobytes())


def tensors_of(folder: str) -> dict:
    import torch
    with open(Path(folder) / "model.safetensors", "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        out = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            out[name] = torch.frombuffer(bytearray(file.read(end - begin)), dtype=torch.bfloat16).view(entry["shape"])
    return out


if __name__ == "__main__":
    import torch
    write(Path(sys.argv[1]), json.loads(sys.argv[2]), "cuda" if torch.cuda.is_available() else "cpu")
