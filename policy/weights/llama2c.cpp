// llama2.c's "version 0" checkpoint: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
// seq_len), then float32 arrays, each for all layers before the next begins. A negative vocab_size means that
// a separate output matrix stands at the end. Rotary embeddings pair adjacent rows.
#include <array>
#include <cstring>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/formats.h"

namespace fulcrum {
namespace {

constexpr size_t kHeaderInts = 7;
constexpr size_t kHeaderBytes = kHeaderInts * sizeof(int32_t);
constexpr int32_t kVersionedMagic = 0x616b3432;  // "ak42": versions 1 and 2

// Keeps the sum of all blocks below 2^62 and refuses what is no checkpoint at all.
constexpr int64_t kMaxSize = int64_t{1} << 22, kMaxLayers = 4096;

Result<ModelSpec> read_header(std::span<const std::byte> file) {
  std::array<int32_t, kHeaderInts> h{};
  if (file.size() < kHeaderBytes) return invalid_argument("too short for a llama2.c checkpoint");
  std::memcpy(h.data(), file.data(), kHeaderBytes);
  if (h[0] == kVersionedMagic) {
    return invalid_argument("a llama2.c checkpoint of version " + std::to_string(h[1]) +
                            "; only version 0 is supported, export it with --version 0");
  }
  ModelSpec spec;
  spec.hidden_size = h[0];
  spec.intermediate_size = h[1];
  spec.num_hidden_layers = h[2];
  spec.num_attention_heads = h[3];
  spec.num_key_value_heads = h[4];
  spec.vocab_size = h[5] < 0 ? -int64_t{h[5]} : int64_t{h[5]};
  spec.max_position_embeddings = h[6];
  spec.tie_word_embeddings = h[5] > 0;
  for (const int64_t size : {spec.hidden_size, spec.intermediate_size, spec.num_attention_heads,
                             spec.num_key_value_heads, spec.vocab_size, spec.max_position_embeddings}) {
    if (size < 1 || size > kMaxSize)
      return invalid_argument("not a llama2.c checkpoint: its header holds the size " + std::to_string(size));
  }
  if (spec.num_hidden_layers < 1 || spec.num_hidden_layers > kMaxLayers) {
    return invalid_argument("not a llama2.c checkpoint: its header holds " +
                            std::to_string(spec.num_hidden_layers) + " layers");
  }
  spec.head_dim = spec.hidden_size / spec.num_attention_heads;
  if (spec.hidden_size % spec.num_attention_heads != 0 || spec.head_dim % 2 != 0 ||
      spec.num_attention_heads % spec.num_key_value_heads != 0) {
    return invalid_argument("not a llama2.c checkpoint: its head counts do not divide its width");
  }
  // The format has no keys for these; the program that defines it has them as constants. It trains on stories
  // that each begin with BOS and have no EOS, and stops at BOS.
  spec.rms_norm_eps = 1e-5;
  spec.rope_theta = 10000;
  spec.bos_token_id = 1;
  spec.eos_token_ids = {2, 1};
  if (spec.vocab_size <= 2)
    return invalid_argument("not a llama2.c checkpoint: its vocabulary has no room for BOS and EOS");
  return spec;
}

// One array of the file: a tensor, or one a layer.
struct Block {
  std::string name;
  std::vector<int64_t> shape;
  bool per_layer = true;
};

// In the order of the file. Empty names are skipped: precomputed rotary tables.
std::vector<Block> blocks(const ModelSpec& s) {
  const int64_t d = s.hidden_size, inner = s.intermediate_size, kv = s.num_key_value_heads * s.head_dim;
  std::vector<Block> out = {{"model.embed_tokens.weight", {s.vocab_size, d}, false},
                            {"input_layernorm.weight", {d}},
                            {"self_attn.q_proj.weight", {d, d}},
                            {"self_attn.k_proj.weight", {kv, d}},
                            {"self_attn.v_proj.weight", {kv, d}},
                            {"self_attn.o_proj.weight", {d, d}},
                            {"post_attention_layernorm.weight", {d}},
                            {"mlp.gate_proj.weight", {inner, d}},
                            {"mlp.down_proj.weight", {d, inner}},
                            {"mlp.up_proj.weight", {inner, d}},
                            {"model.norm.weight", {d}, false},
                            {"", {s.max_position_embeddings, s.head_dim}, false}};
  if (!s.tie_word_embeddings) out.push_back({"lm_head.weight", {s.vocab_size, d}, false});
  return out;
}

uint64_t block_bytes(const Block& block) {
  uint64_t bytes = sizeof(float);
  for (const int64_t d : block.shape) bytes *= static_cast<uint64_t>(d);  // at most 2^46
  return bytes;
}

uint64_t file_bytes(const ModelSpec& spec) {
  uint64_t bytes = kHeaderBytes;
  for (const Block& block : blocks(spec)) {
    bytes += block_bytes(block) * static_cast<uint64_t>(block.per_layer ? spec.num_hidden_layers : 1);
  }
  return bytes;
}

Result<Model> parse(const std::shared_ptr<const MappedFile>& file) {
  TRY(spec, read_header(file->bytes()));
  const uint64_t expected = file_bytes(spec);
  if (expected != file->bytes().size()) {
    return invalid_argument("its header needs " + std::to_string(expected) + " bytes but the file has " +
                            std::to_string(file->bytes().size()) +
                            "; the file was cut or is no llama2.c checkpoint");
  }
  Model out;
  out.spec = spec;
  size_t at = kHeaderBytes;
  for (const Block& block : blocks(spec)) {
    for (int64_t i = 0; i < (block.per_layer ? spec.num_hidden_layers : 1); ++i) {
      const TensorView view{DType::kF32, block.shape, file->bytes().subspan(at, block_bytes(block)), file};
      at += block_bytes(block);
      if (block.name.empty()) continue;
      const bool rotary = block.name.ends_with("q_proj.weight") || block.name.ends_with("k_proj.weight");
      const std::string prefix = block.per_layer ? "model.layers." + std::to_string(i) + "." : "";
      out.tensors.emplace(prefix + block.name, rotary ? rotary_halves(view, spec.head_dim) : view);
    }
  }
  return out;
}

}  // namespace

bool is_llama2c_checkpoint(const Path& path) {
  const auto file = MappedFile::open(path);
  if (!file.ok()) return false;
  const auto spec = read_header((*file)->bytes());
  return spec.ok() && file_bytes(*spec) == (*file)->bytes().size();
}

Result<Model> load_llama2c(const Path& path) {
  TRY(file, MappedFile::open(path));
  Result<Model> out = parse(file);
  if (!out.ok()) return out.status().with_context(in_quotes(path.string()));
  TRY_DO(check_tensors(out->spec, out->tensors));
  out->folder = path.has_parent_path() ? path.parent_path() : Path(".");
  return out;
}

}  // namespace fulcrum
