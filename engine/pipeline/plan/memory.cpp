#include "engine/pipeline/plan/memory.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "engine/core/text.h"
#include "engine/pipeline/plan/sizes.h"

namespace fulcrum {
namespace {

constexpr unsigned kAlways = 63;
// A token on the host while a step lasts: its completion, the packed batch, the copy that the learner gets
// and the slice of a micro-batch, each with ids, positions, sources, log-probs and advantages.
constexpr int64_t kHostBytesPerToken = 200;

unsigned at(Phase phase) { return static_cast<unsigned>(phase); }

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
  void add_on_device(std::string name, int64_t bytes, unsigned phases, std::string keys = {}) {
    const size_t before = parts_.size();
    add(std::move(name), bytes, phases, std::move(keys));
    if (parts_.size() > before) parts_.back().place = Place::kDevice;
  }
  // What lies where the learner's models do.
  void add_there(std::string name, int64_t bytes, unsigned phases, std::string keys = {}) {
    if (w_.on_device) return add_on_device(std::move(name), bytes, phases, std::move(keys));
    add(std::move(name), bytes, phases, std::move(keys));
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

  // Versions of the weights that generation may ask for, as tensors and as the decoder has them; one more of
  // each while the next one is published. Where one version is on a GPU it goes before the next comes.
  void add_rollouts() {
    const int64_t versions = w_.config.max_staleness + 1;
    const unsigned running = kAlways & ~at(Phase::kStart);
    const std::string staleness = versions > 1 ? "max_staleness" : "",
                      longer = "rollout_max_batch, max_completion_length";
    const bool rounded = decode_dtype(w_.config.sampling.rollout_dtype) == DType::kBF16;
    const int64_t set = rounded ? weights_ / 2 : weights_;
    const int64_t at_a_time = std::min(w_.config.sampling.rollout_max_batch, w_.sequences);
    unsigned generating = at(Phase::kGenerate);
    if (versions > 1) generating |= at(Phase::kBackward) | at(Phase::kUpdate) | at(Phase::kCheckpoint);
    add("published weights", versions * set, running, staleness);
    if (rounded && w_.on_device) {  // the last version, and changes from it to the next
      add_on_device("last version, rounded", set, running);
      add_on_device("changed weights", set / 4, at(Phase::kPublish));
    }
    if (w_.generates_on_device) {
      const DeviceGeneration gpu = device_generation_bytes(w_, at_a_time);
      add("next weights", set, at(Phase::kPublish));
      add_on_device("decode model", versions * gpu.model, running, staleness);
      if (versions > 1) add_on_device("next version", gpu.model, at(Phase::kPublish), staleness);
      add_on_device("KV cache", gpu.cache, generating, longer);
      add_on_device("decoder buffers", gpu.buffers, generating, longer);
      return;
    }
    const int64_t model = decode_model_bytes(w_.spec, decode_dtype(w_.config.sampling.rollout_dtype));
    const int64_t embedding = kFloat * w_.spec.vocab_size * w_.spec.hidden_size;
    add("decode model", versions * model, running, staleness);
    add("next version", std::max(set, model + embedding), at(Phase::kPublish));
    add("KV cache", cache_bytes(w_, at_a_time), generating, longer);
    add("decoder buffers", decoder_buffer_bytes(w_, at_a_time), generating, "rollout_max_batch");
  }

  void add_training() {
    const Activations a = activations_of(w_);
    const int64_t gradients = weights_ * trained();
    // In the first micro-batch gradients come as activations go, if not into the same heap; later ones begin
    // with all of them.
    const bool beside = w_.micro_batches.size() > 1 || heap_share(w_) > 0.5;
    add_there("gradients", gradients, at(Phase::kUpdate) | (beside ? at(Phase::kBackward) : 0));
    add_head(a, beside);
    const std::string smaller = w_.config.learner.gradient_checkpointing
                                    ? "max_tokens_per_micro_batch"
                                    : "max_tokens_per_micro_batch, gradient_checkpointing";
    add_there("activations", a.saved, at(Phase::kBackward), smaller);
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

  // What the head keeps between steps on the CPU (policy/nn/head_memory.h), and a layer's backward pass,
  // which comes after the head's. `beside`: the gradients are counted in the backward pass already.
  void add_head(const Activations& a, bool beside) {
    const int64_t gradient = w_.needs.scores ? 0 : kFloat * w_.spec.vocab_size * w_.spec.hidden_size;
    const std::string tokens = "max_tokens_per_micro_batch";
    if (w_.on_device) {
      add_there("gradient of the head", gradient, at(Phase::kBackward));
      add_there("logits", std::max(a.logits, a.temporary), at(Phase::kBackward),
                a.logits > a.temporary ? "logits_chunk" : tokens);
      return;
    }
    const unsigned running = kAlways & ~at(Phase::kStart);
    add("gradient of the head", gradient,
        running & ~at(Phase::kUpdate) & ~(beside ? at(Phase::kBackward) : 0));
    add("logits", a.logits, running, "logits_chunk");
    add("gradients of a layer", a.temporary, at(Phase::kBackward), tokens);
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
