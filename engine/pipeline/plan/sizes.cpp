#include "engine/pipeline/plan/sizes.h"

#include <algorithm>

#include "engine/kernels/attention/op.h"
#include "engine/kernels/matmul/op.h"
#include "policy/decode/decoder.h"
#include "policy/decode/device/device_decoder.h"

namespace fulcrum {
namespace {

using kernels::round_up;

struct Widths {
  explicit Widths(const ModelSpec& s)
      : hidden(s.hidden_size),
        inner(s.intermediate_size),
        query(s.num_attention_heads * s.head_dim),
        qkv(query + 2 * s.num_key_value_heads * s.head_dim) {}
  int64_t hidden, inner, query, qkv;
};

// What a layer keeps of a token for its backward pass (policy/nn/layer.cpp, Kept): its input, q, k and v,
// what was attended with a log-sum-exp a head, the middle of the residual stream, gate and up. Always fp32.
int64_t kept_in_layer(const ModelSpec& spec) {
  const Widths w(spec);
  return kFloat * (2 * w.hidden + w.qkv + w.query + spec.num_attention_heads + 2 * w.inner);
}

// Beside it while one layer's gradient is made: those of the MLP and of q, k and v, the normed rows of both
// halves, three of the residual stream; with bf16 the operands of the largest product, rounded.
int64_t temporary_in_layer(const ModelSpec& spec, bool bf16) {
  const Widths w(spec);
  return kFloat * (3 * w.inner + w.qkv + 5 * w.hidden) + (bf16 ? 2 * (2 * w.inner + w.hidden) : 0);
}

}  // namespace

int64_t learner_model_bytes(const ModelSpec& spec, bool bf16) {
  const int64_t all = parameter_count(spec), inside = spec.num_hidden_layers * layer_matrix_weights(spec);
  return kFloat * all + (bf16 ? 2 * inside + kFloat * (all - inside) : 0);
}

int64_t decode_model_bytes(const ModelSpec& s, DType dtype) {
  const Widths w(s);
  const bool bf16 = dtype == DType::kBF16;
  const auto packed = [&](int64_t outputs, int64_t inputs) {
    return (bf16 ? kFloat / 2 : kFloat) * inputs * round_up(outputs, kernels::kPanelOutputs);
  };
  const int64_t row = kernels::kRowAlign;
  const int64_t qkv = round_up(w.query, row) + round_up(s.num_key_value_heads * s.head_dim, row) +
                      s.num_key_value_heads * s.head_dim;
  const int64_t layer = packed(qkv, w.hidden) + packed(w.hidden, w.query) +
                        packed(round_up(w.inner, row) + w.inner, w.hidden) + packed(w.hidden, w.inner);
  const int64_t embedding = bf16 ? kFloat * s.vocab_size * w.hidden : 0;
  return s.num_hidden_layers * layer + packed(s.vocab_size, w.hidden) + embedding;
}

int64_t cache_bytes(const Workload& w, int64_t at_a_time) {
  const kernels::AttentionShape shape{w.spec.num_attention_heads, w.spec.num_key_value_heads, w.spec.head_dim,
                                      1};
  const int64_t page = kFloat * shape.page_floats() * w.spec.num_hidden_layers,
                slots = kernels::kPagePositions;
  const int64_t group = std::max<int64_t>(1, w.config.sampling.num_generations);
  const int64_t groups = (at_a_time + group - 1) / group;
  const int64_t shared = w.mean_prompt() / slots;
  const int64_t own = (w.mean_prompt() % slots + w.completion_length + slots - 1) / slots;
  return page * (groups * (shared + 1) + at_a_time * own);
}

int64_t decoder_buffer_bytes(const Workload& w, int64_t at_a_time) {
  const Widths x(w.spec);
  const int64_t rows = w.config.sampling.rollout_threads * Decoder::kChunkRows *
                       (2 * x.hidden + x.qkv + x.query + 3 * x.inner);
  const int64_t logits = w.spec.vocab_size * (2 * at_a_time + 4 * w.config.sampling.rollout_threads);
  return kFloat * (rows + logits);
}

DeviceGeneration device_generation_bytes(const Workload& w, int64_t at_a_time) {
  const SamplingConfig& sampling = w.config.sampling;
  const DType dtype = decode_dtype(sampling.rollout_dtype);
  const auto pages_of = [](int64_t positions) {
    return (positions + kernels::kPagePositions - 1) / kernels::kPagePositions;
  };
  const int64_t prompt = w.mean_prompt(), room = std::clamp<int64_t>(w.spec.max_position_embeddings - prompt,
                                                                     1, sampling.max_completion_length);
  DeviceDecoder::Size size{.places = std::clamp<int64_t>(at_a_time, 1, DeviceDecoder::kMostPlaces),
                           .longest = prompt + room - 1};
  DeviceGeneration out{.model = DeviceModel::bytes(w.spec, dtype),
                       .buffers = DeviceDecoder::bytes(w.spec, dtype, size)};
  size.pages = size.places * pages_of(size.longest) + pages_of(prompt);
  out.cache = DeviceDecoder::bytes(w.spec, dtype, size) - out.buffers;
  return out;
}

Activations activations_of(const Workload& w) {
  const LearnerConfig& c = w.config.learner;
  const MicroBatch m = w.largest();
  const int64_t layers = w.spec.num_hidden_layers;
  const int64_t layer = kept_in_layer(w.spec), hidden = kFloat * w.spec.hidden_size;
  const int64_t models = w.separate_critic ? 2 : 1;
  Activations out;
  out.saved = models * m.tokens * (c.gradient_checkpointing ? layers * hidden : layers * layer) +
              m.tokens * 2 * hidden + 2 * m.targets * hidden;
  out.temporary =
      m.tokens * (temporary_in_layer(w.spec, c.dtype == "bfloat16") + (c.gradient_checkpointing ? layer : 0));
  if (w.needs.scores) return out;
  // Buffers of [chunk, V]: the log-prob has one, an exact divergence those of two models.
  const int64_t buffers = w.needs.divergence ? 2 : 1;
  out.logits = buffers * kFloat * std::min(c.logits_chunk, m.targets) * w.spec.vocab_size;
  return out;
}

double heap_share(const Workload& w) {
  constexpr int64_t kMappedFrom = int64_t{32} << 20;
  const Widths x(w.spec);
  int64_t all = 0, heap = 0;
  for (const int64_t columns : {x.hidden, x.hidden, x.qkv, x.query, 2 * x.inner}) {
    const int64_t bytes = w.largest().tokens * kFloat * columns;
    all += bytes;
    heap += bytes < kMappedFrom ? bytes : 0;
  }
  return all == 0 ? 0 : static_cast<double>(heap) / static_cast<double>(all);
}

double heap_waste(const Workload& w) {
  const bool several = w.micro_batches.size() > 1 || w.config.objective.several_updates();
  const double again = 0.7 + 0.06 * static_cast<double>(w.spec.num_hidden_layers);
  return heap_share(w) * (w.config.learner.gradient_checkpointing ? again : several ? 0.55 : 0.28);
}

}  // namespace fulcrum
