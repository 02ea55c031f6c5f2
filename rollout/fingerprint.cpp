#include "rollout/fingerprint.h"

#include <vector>

#include "engine/core/hash.h"
#include "engine/core/rng.h"
#include "engine/kernels/matmul_bf16/op.h"
#include "engine/kernels/simd.h"
#include "policy/decode/decoder.h"
#include "rollout/sampler.h"

namespace fulcrum {
namespace {

constexpr int kProbeTokens = 48;

// Large enough to pass through every loop of the kernels: sizes that fill vectors and sizes that do not, more
// than one panel of outputs, more than one chain of inputs, grouped queries, biases, scaled rotary
// frequencies.
ModelSpec probe_spec() {
  ModelSpec s;
  s.vocab_size = 300;
  s.hidden_size = 72;
  s.intermediate_size = 150;
  s.num_hidden_layers = 2;
  s.num_attention_heads = 6;
  s.num_key_value_heads = 2;
  s.head_dim = 20;
  s.max_position_embeddings = 128;
  s.attention_bias = true;
  s.rope_scaling = RopeScaling{8, 1, 4, 32};
  return s;
}

// Weights from uniform numbers alone: what is measured is the decoder, not a libm's logarithm at
// initialisation.
TensorMap probe_weights(const ModelSpec& spec) {
  TensorMap out;
  uint64_t index = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    size_t n = 1;
    for (const int64_t d : shape) n *= static_cast<size_t>(d);
    const Rng rng(0, Purpose::kTest, {index++});
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i)
      values[i] = 0.5f * (rng.uniform_at(i) - (shape.size() == 2 ? 0.5f : -0.5f));
    out.emplace(name, make_tensor(shape, values));
  }
  return out;
}

std::string probe(DType dtype) {
  const ModelSpec spec = probe_spec();
  auto model = DecodeModel::create(spec, probe_weights(spec), dtype);
  if (!model.ok()) return model.status().message();
  Workers one(1);
  Decoder decoder(std::move(model).value(), one);
  KvSequence sequence = decoder.new_sequence();
  Sampler sampler;
  SamplingParams params;
  params.temperature = 0.7;
  const Rng noise(0, Purpose::kTest, {uint64_t{1} << 32});
  std::string drawn;
  TokenId id = 1;
  for (int t = 0; t < kProbeTokens; ++t) {
    const DecodeRow row{&sequence, id, true};
    decoder.run({&row, 1});
    const auto draw = sampler.draw(decoder.logits(0), params, noise.uniform53_at(static_cast<uint64_t>(t)));
    if (!draw) return "not finite";
    id = draw->id;
    drawn.append(reinterpret_cast<const char*>(&draw->id), sizeof draw->id);
    drawn.append(reinterpret_cast<const char*>(&draw->logp), sizeof draw->logp);
    const std::span<const float> logits = decoder.logits(0);
    drawn.append(reinterpret_cast<const char*>(logits.data()), logits.size_bytes());
  }
  return sha256_hex(drawn).substr(0, 16);
}

}  // namespace

const std::string& numeric_fingerprint(DType dtype) {
  static const std::string fp32 = "fulcrum " FULCRUM_VERSION " fp32 " + probe(DType::kF32);
  if (dtype != DType::kBF16) return fp32;
  static const std::string bf16 = "fulcrum " FULCRUM_VERSION " bf16 " + probe(DType::kBF16);
  return bf16;
}

std::string describe_decoder(int64_t threads) {
  return "fulcrum " FULCRUM_VERSION ", g++ " __VERSION__ ", " + kernels::simd_target() + ", " +
         std::to_string(threads) + (threads == 1 ? " thread" : " threads") + ", fp32, bf16 " +
         (kernels::has_bf16_dot() ? "by vdpbf16ps" : "widened to fp32");
}

}  // namespace fulcrum
