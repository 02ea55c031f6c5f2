// What a Llama-family checkpoint says of itself, and the checkpoint as tensors under Hugging Face names with
// the halves layout of rotary embeddings, whatever file they came from. Torch-free.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// RoPE frequency scaling of Llama 3.1 ("rope_type": "llama3").
struct RopeScaling {
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

struct ModelSpec {
  std::string model_type = "llama";  // llama, mistral, qwen2
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // biases on q, k, v (Qwen2)
  bool score_head = false;  // one score a sequence in place of the language head: a reward model, a critic
  std::optional<TokenId> bos_token_id, pad_token_id;
  std::vector<TokenId> eos_token_ids;
  DType dtype = DType::kF32;  // what the files hold
};

// config.json -> spec. Unsupported architectures, activations, rope types and sizes that do not fit are
// kInvalidArgument naming the key.
Result<ModelSpec> parse_model_config(const Json& config);
// spec -> the config.json that transformers reads.
Json model_config_json(const ModelSpec& spec);

// Every tensor of the architecture with its shape, in HF names ("model.layers.0.self_attn.q_proj.weight").
std::map<std::string, std::vector<int64_t>> expected_tensors(const ModelSpec& spec);
// The tensors are exactly expected_tensors(spec), each of a floating type. The error names the first that is
// not.
Status check_tensors(const ModelSpec& spec, const TensorMap& tensors);

struct Model {
  ModelSpec spec;
  TensorMap tensors;  // exactly expected_tensors(spec)
  Path folder;        // where it came from (for the tokenizer); empty if it was made
};

// A Hugging Face folder (model.safetensors, or sharded with its index) or a llama2.c .bin file. Missing,
// surplus or misshapen tensors are errors that name the tensor. Surplus rotary buffers are ignored.
Result<Model> load_model(const Path& path);

// Whether a file is a whole llama2.c checkpoint, by its header and size: the same ending, .bin, is that of
// llama2.c's tokenizers.
bool is_llama2c_checkpoint(const Path& file);

// Writes config.json, model.safetensors and the tokenizer's files into an existing folder; transformers loads
// it.
Status write_model(const Path& folder, const Model& model, std::span<const Path> tokenizer_files);

// A model with random weights: normal(0, 0.02) from Rng(seed, kInitialWeights, name order), norms 1, biases
// 0.
Model random_model(const ModelSpec& spec, uint64_t seed);

// The model with a score head of zeros in place of its language head; one that has a score head stays as it
// is. transformers draws a missing head at random, which would need a seed here and give a critic values
// before it has seen a reward; from 0 the head's own gradient is the same as from anywhere, and the body
// follows from the second step on.
Model as_score_model(Model model);

}  // namespace fulcrum
