#include "engine/pipeline/plan/memory.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "engine/core/text.h"
#include "engine/kernels/attention/op.h"
#include "engine/kernels/matmul/op.h"
#include "policy/decode/decoder.h"

namespace fulcrum {
namespace {

using kernels::round_up;

constexpr int64_t kFloat = 4;
constexpr unsigned kAlways = 63;
// A token on the host while a step lasts: its completion, the packed batch, the copy that the learner gets
// and the slice of a micro-batch, each with ids, positions, sources, log-probs and advantages.
constexpr int64_t kHostBytesPerToken = 200;

unsigned at(Phase phase) { return static_cast<unsigned>(phase); }

struct Widths {
  explicit Widths(const ModelSpec& s)
      : hidden(s.hidden_size),
        inner(s.intermediate_size),
        query(s.num_attention_heads * s.head_dim),
        qkv(query + 2 * s.num_key_value_heads * s.head_dim) {}
  int64_t hidden, inner, query, qkv;
};

// A model of nn: the fp32 leaves and, with bf16, what the forward pass uses in their place: the matrices
// inside of the layers in bf16, the others rounded in fp32.
int64_t learner_model_bytes(const ModelSpec& spec, bool bf16) {
  const int64_t all = parameter_count(spec), inside = spec.num_hidden_layers * layer_matrix_weights(spec);
  return kFloat * all + (bf16 ? 2 * inside + kFloat * (all - inside) : 0);
}

// A model of the decoder. In fp32 it shares the embedding with the published weights; in bf16 it has a copy
// of the rounded values, in fp32.
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

// Keys and values of the sequences that are generated at a time; full pages of a prompt are shared by its
// group.
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

// The decoder's rows and logits, and each group's logits after its prompt.
int64_t decoder_buffer_bytes(const Workload& w, int64_t at_a_time) {
  const Widths x(w.spec);
  const int64_t rows = w.config.sampling.rollout_threads * Decoder::kChunkRows *
                       (2 * x.hidden + x.qkv + x.query + 3 * x.inner);
  const int64_t logits = w.spec.vocab_size * (2 * at_a_time + 4 * w.config.sampling.rollout_threads);
  return kFloat * (rows + logits);
}

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

struct Activations {
  int64_t saved = 0, logits = 0, temporary = 0;
  int64_t largest() const { return saved + std::max(logits, temporary); }
};

Activations activations_of(const Workload& w) {
  const LearnerConfig& c = w.config.learner;
  const MicroBatch m = w.largest();
  const int64_t layers = w.spec.num_hidden_layers;
  const int64_t layer = kept_in_layer(w.spec), hidden = kFloat * w.spec.hidden_size;
  const int64_t models = w.separate_critic ? 2 : 1;
  Activations out;
  out.saved = models * m.tokens * (c.gradient_checkpointing ? layers * hidden : layers * layer) +
              m.tokens * 2 * hidden + m.targets * hidden;
  out.temporary =
      m.tokens * (temporary_in_layer(w.spec, c.dtype == "bfloat16") + (c.gradient_checkpointing ? layer : 0));
  if (w.needs.scores) return out;
  // Buffers of [chunk, V]: the log-prob has one, an exact divergence those of two models.
  const int64_t buffers = w.needs.divergence ? 2 : 1;
  out.logits =
      buffers * kFloat * std::min(c.logits_chunk, m.targets) * w.spec.vocab_size + m.targets * hidden;
  return out;
}

// The share of a micro-batch's tensors that malloc takes from its heap: those below the 32 MiB above which
// every block is a mapping of its own, given back when it is freed.
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

// What the heap holds beside the tensors in it: blocks of other sizes that were freed and fit none that came
// later, above all where gradients, which stay, are made among activations, which go. Measured with
// glibc 2.36 over seven shapes: 0.2 of the tensors in one micro-batch, 0.3 in several, 0.3 to 1.6 where each
// layer is computed again; the factors lie above that, for shapes that do worse. With a fixed
// M_MMAP_THRESHOLD it is gone, and so is a third of the speed.
double heap_waste(const Workload& w) {
  const bool several = w.micro_batches.size() > 1 || w.config.objective.several_updates();
  const double again = 0.7 + 0.06 * static_cast<double>(w.spec.num_hidden_layers);
  return heap_share(w) * (w.config.learner.gradient_checkpointing ? again : several ? 0.55 : 0.28);
}

class Planner {
 public:
  Planner(const Workload& work, const MemoryBase& base)
      : w_(work),
        base_(base),
        weights_(kFloat * parameter_count(work.spec)),
        bf16_(work.config.learner.dtype == "bfloat16") {}

  MemoryPlan plan() {
    add_held();
    if (w_.config.online()) add_rollouts();
    add_training();
    MemoryPlan out{.parts = std::move(parts_)};
    for (const Phase phase : {Phase::kStart, Phase::kPublish, Phase::kGenerate, Phase::kBackward,
                              Phase::kUpdate, Phase::kCheckpoint}) {
      for (const auto& [place, peak] : {std::pair(Place::kHost, &out.host), {Place::kDevice, &out.device}}) {
        int64_t sum = 0;
        for (const MemoryPart& part : out.parts)
          sum += (part.phases & at(phase)) != 0 && part.place == place ? part.bytes : 0;
        if (sum > peak->bytes) *peak = {phase, sum};
      }
    }
    return out;
  }

 private:
  void add(std::string name, int64_t bytes, unsigned phases, std::string keys = {}) {
    if (bytes > 0) parts_.push_back({std::move(name), bytes, phases, std::move(keys)});
  }
  // What lies where the learner's models do.
  void add_there(std::string name, int64_t bytes, unsigned phases, std::string keys = {}) {
    const size_t before = parts_.size();
    add(std::move(name), bytes, phases, std::move(keys));
    if (w_.on_device && parts_.size() > before) parts_.back().place = Place::kDevice;
  }
  int64_t trained() const { return w_.separate_critic ? 2 : 1; }  // models

  void add_held() {
    add("process", base_.process, kAlways);
    add("data", base_.data, kAlways);
    add("model file", base_.model_file, at(Phase::kStart));
    add_there("weights", learner_model_bytes(w_.spec, bf16_), kAlways);
    if (w_.separate_critic) add_there("critic", learner_model_bytes(w_.spec, bf16_), kAlways, "value_head");
    add_there("optimizer moments", 2 * weights_ * trained(), kAlways);
    if (!w_.reference_model) return;
    const bool average = w_.config.reference.bema.update_ref_model;
    add_there("reference", learner_model_bytes(w_.spec, bf16_) + (average ? 2 * weights_ : 0), kAlways,
              w_.config.objective.trainer == "dpo" ? "precompute_ref_log_probs" : "");
  }

  // Versions of the weights that generation may ask for, as tensors and packed; one more of each while the
  // next one is published.
  void add_rollouts() {
    const int64_t versions = w_.config.max_staleness + 1,
                  model = decode_model_bytes(w_.spec, decode_dtype(w_.config.sampling.rollout_dtype));
    const int64_t embedding = kFloat * w_.spec.vocab_size * w_.spec.hidden_size;
    const unsigned running = kAlways & ~at(Phase::kStart);
    const std::string staleness = versions > 1 ? "max_staleness" : "";
    add("published weights", versions * weights_, running, staleness);
    add("decode model", versions * model, running, staleness);
    add("next version", std::max(weights_, model + embedding), at(Phase::kPublish));
    const int64_t at_a_time = std::min(w_.config.sampling.rollout_max_batch, w_.sequences);
    unsigned generating = at(Phase::kGenerate);
    if (versions > 1) generating |= at(Phase::kBackward) | at(Phase::kUpdate) | at(Phase::kCheckpoint);
    add("KV cache", cache_bytes(w_, at_a_time), generating, "rollout_max_batch, max_completion_length");
    add("decoder buffers", decoder_buffer_bytes(w_, at_a_time), generating, "rollout_max_batch");
  }

  void add_training() {
    const Activations a = activations_of(w_);
    const int64_t gradients = weights_ * trained();
    // In the first micro-batch gradients come as activations go, if not into the same heap; later ones begin
    // with all of them.
    const bool beside = w_.micro_batches.size() > 1 || heap_share(w_) > 0.5;
    add_there("gradients", gradients, at(Phase::kUpdate) | (beside ? at(Phase::kBackward) : 0));
    const int64_t head = kFloat * w_.spec.vocab_size * w_.spec.hidden_size;
    add_there("gradient of the head", w_.needs.scores ? 0 : head, at(Phase::kBackward));
    const std::string smaller = w_.config.learner.gradient_checkpointing
                                    ? "max_tokens_per_micro_batch"
                                    : "max_tokens_per_micro_batch, gradient_checkpointing";
    add_there("activations", a.saved, at(Phase::kBackward), smaller);
    add_there("logits", std::max(a.logits, a.temporary), at(Phase::kBackward),
              a.logits > a.temporary ? "logits_chunk" : "max_tokens_per_micro_batch");
    if (!w_.on_device) {
      add("heap between tensors",
          static_cast<int64_t>(heap_waste(w_) * static_cast<double>(a.largest() + gradients)),
          at(Phase::kBackward), "max_tokens_per_micro_batch");
    }
    if (w_.config.objective.several_updates()) {
      add_there("weights to go back to", 3 * weights_ * trained(), at(Phase::kBackward) | at(Phase::kUpdate),
                "num_iterations, num_mini_batches");
    }
    add("rollouts and batch", kHostBytesPerToken * w_.batch.num_tokens(),
        at(Phase::kGenerate) | at(Phase::kBackward) | at(Phase::kUpdate), "prompts_per_step");
    const bool moving = w_.reference_model && moves(w_.config.reference);
    add("checkpoint copies", weights_ * (1 + 3 * trained() + (moving ? 1 : 0)), at(Phase::kCheckpoint));
  }

  const Workload& w_;
  const MemoryBase& base_;
  int64_t weights_;  // bytes of the policy's, in fp32
  bool bf16_;
  std::vector<MemoryPart> parts_;
};

}  // namespace

MemoryPlan plan_memory(const Workload& work, const MemoryBase& base) { return Planner(work, base).plan(); }

bool at_peak(const MemoryPlan& plan, const MemoryPart& part) {
  return (part.phases & at(plan.peak(part.place).phase)) != 0;
}

std::vector<MemoryPart> reducible(const MemoryPlan& plan, Place place) {
  std::vector<MemoryPart> out;
  for (const MemoryPart& part : plan.parts) {
    if (part.place == place && at_peak(plan, part) && !part.keys.empty()) out.push_back(part);
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return out;
}

std::string memory_advice(const MemoryPlan& plan, Place place) {
  std::vector<std::string> out;
  for (const MemoryPart& part : reducible(plan, place))
    out.push_back(part.keys + " (" + part.name + ", " + size_text(part.bytes) + ")");
  return out.empty() ? "nothing in the job makes it smaller: take a smaller model"
                     : "change " + join(out, "; ");
}

std::string size_text(int64_t bytes) {
  char text[32];
  const double mib = static_cast<double>(bytes) / (1 << 20);
  const bool large = bytes >= int64_t{1} << 30;
  std::snprintf(text, sizeof text, large ? "%.2f GiB" : "%.0f MiB", large ? mib / 1024 : mib);
  return text;
}

std::string phase_name(Phase phase) {
  switch (phase) {
    case Phase::kStart:
      return "while the model is loaded";
    case Phase::kPublish:
      return "while weights are published";
    case Phase::kGenerate:
      return "while completions are generated";
    case Phase::kBackward:
      return "in the backward pass of the largest micro-batch";
    case Phase::kUpdate:
      return "at the optimizer step";
    case Phase::kCheckpoint:
      return "while a checkpoint is written";
  }
  return "";
}

}  // namespace fulcrum
