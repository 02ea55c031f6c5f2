"""A Llama checkpoint of ours as a GGUF file for llama.cpp: gguf_model.py FOLDER TYPE OUT, TYPE float32 or bfloat16. It has no
vocabulary: the benches speak in token ids."""
import json
import sys
from pathlib import Path

import gguf
import numpy
from safetensors.numpy import load_file

ARCHITECTURE = "llama"
TYPES = {"float32": gguf.GGMLQuantizationType.F32, "bfloat16": gguf.GGMLQuantizationType.BF16}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
       "lm_head.weight": "output.weight"}
OF_LAYER = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
            "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down"}


def gguf_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    layer, part = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{OF_LAYER[part.removesuffix('.weight')]}.weight"


def interleaved(weight: numpy.ndarray, heads: int) -> numpy.ndarray:
    """RoPE turns pairs of a head's outputs: ours, as transformers', are those half a head apart (i, i + d/2), those of
    llama.cpp's `llama` are neighbours (2i, 2i + 1). So row i of the first half goes to 2i, row i of the second to 2i + 1."""
    by_half = weight.reshape(heads, 2, -1, weight.shape[1])
    return by_half.swapaxes(1, 2).reshape(weight.shape)


def add_config(writer: gguf.GGUFWriter, config: dict) -> None:
    assert config["model_type"] == "llama" and not config.get("rope_scaling") and not config.get("attention_bias")
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def main(folder: str, dtype: str, out: str) -> None:
    config = json.loads((Path(folder) / "config.json").read_text())
    heads = {"self_attn.q_proj.weight": config["num_attention_heads"],
             "self_attn.k_proj.weight": config["num_key_value_heads"]}
    partial = Path(out).with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, ARCHITECTURE)
    add_config(writer, config)
    for name, tensor in load_file(Path(folder) / "model.safetensors").items():
        for projection, count in heads.items():
            if name.endswith(projection):
                tensor = interleaved(tensor, count)
        # llama.cpp multiplies by the weights of norms in fp32 alone.
        stored = TYPES[dtype] if tensor.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quantize(numpy.ascontiguousarray(tensor), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
