#include "engine/pipeline/plan/workload.h"

#include <algorithm>
#include <utility>

#include "engine/data/pack.h"
#include "engine/data/slice.h"

namespace fulcrum {
namespace {

constexpr int64_t kStepsLookedAt = 64;

// Tokens of a row that do not change from step to step, completions left aside.
int64_t tokens_of(const DataRow& row) {
  return std::ssize(row.prompt.ids) + std::ssize(row.completion) + std::ssize(row.rejected);
}

int64_t room_for_completion(const ModelSpec& spec, const DataRow& row, int64_t wanted) {
  return std::clamp<int64_t>(spec.max_position_embeddings - std::ssize(row.prompt.ids), 1, wanted);
}

// Rollouts of the rows, then what DPH-RL rehearses beside them: stored samples of prompts like these.
void add_rollouts(Workload& w, BatchBuilder& builder, std::span<const DataRow* const> rows) {
  const JobConfig& c = w.config;
  const auto add = [&](const DataRow& row, int64_t completions, bool rehearsal) {
    const std::vector<TokenId> ids(
        static_cast<size_t>(room_for_completion(w.spec, row, w.completion_length)));
    builder.begin_group(std::vector<TokenId>(row.prompt.ids.size()));
    for (int64_t i = 0; i < completions; ++i) builder.add_row(ids, {.rehearsal = rehearsal});
    if (rehearsal) return;
    w.prompts += 1;
    w.sequences += completions;
    w.prompt_tokens += std::ssize(row.prompt.ids);
    w.completion_tokens += completions * std::ssize(ids);
  };
  for (const DataRow* row : rows) add(*row, c.sampling.num_generations, false);
  if (c.objective.trainer != "dph_rl" || c.objective.dph_eta <= 0 || rows.empty()) return;
  for (int64_t i = 0; i < c.presample.rehearsal_per_step; ++i)
    add(*rows[static_cast<size_t>(i) % rows.size()], 1, true);
}

}  // namespace

MicroBatch Workload::largest() const {
  MicroBatch out;
  for (const MicroBatch& m : micro_batches) {
    out.tokens = std::max(out.tokens, m.tokens);
    out.targets = std::max(out.targets, m.targets);
  }
  return out;
}

int64_t Workload::tokens() const {
  int64_t out = 0;
  for (const MicroBatch& m : micro_batches) out += m.tokens;
  return out;
}

int64_t Workload::targets() const {
  int64_t out = 0;
  for (const MicroBatch& m : micro_batches) out += m.targets;
  return out;
}

Workload workload_of(const JobConfig& config, const ModelSpec& spec, const Needs& needs,
                     std::span<const DataRow* const> rows, int64_t completion_length) {
  Workload w{.config = config, .spec = spec, .needs = needs};
  w.completion_length = std::min(completion_length, config.sampling.max_completion_length);
  w.reference_model =
      (needs.reference_logps || needs.divergence) && !config.reference.precompute_ref_log_probs;
  w.separate_critic = needs.values && config.learner.critic.value_head == "separate";
  w.updates = config.objective.num_iterations * config.objective.num_mini_batches;
  if (config.online()) {
    BatchBuilder builder;
    add_rollouts(w, builder, rows);
    w.batch = builder.take();
    if (w.sequences > 0) w.completion_length = (w.completion_tokens + w.sequences - 1) / w.sequences;
  } else {
    w.batch = pack_rows(rows, config.rows());
  }
  for (const RowRange range :
       micro_batches(w.batch, config.learner.max_tokens_per_micro_batch, needs.pairs)) {
    const TrainBatch part = slice(w.batch, range);
    w.micro_batches.push_back({part.num_tokens(), part.num_targets()});
  }
  return w;
}

std::vector<const DataRow*> largest_step(const JobConfig& config, const Dataset& data) {
  std::vector<const DataRow*> largest;
  int64_t most = -1;
  for (int64_t s = 0; s < std::min(config.max_steps, kStepsLookedAt); ++s) {
    std::vector<const DataRow*> rows = data.step_rows(s, config.data.prompts_per_step);
    int64_t tokens = 0;
    for (const DataRow* row : rows) tokens += tokens_of(*row);
    if (std::exchange(most, std::max(most, tokens)) < tokens) largest = std::move(rows);
  }
  return largest;
}

int64_t element_count(std::span<const int64_t> shape) {
  int64_t out = 1;
  for (const int64_t d : shape) out *= d;
  return out;
}

int64_t parameter_count(const ModelSpec& spec) {
  int64_t out = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) out += element_count(shape);
  return out;
}

int64_t layer_matrix_weights(const ModelSpec& s) {
  const int64_t query = s.num_attention_heads * s.head_dim, keys = s.num_key_value_heads * s.head_dim;
  return s.hidden_size * (2 * query + 2 * keys + 3 * s.intermediate_size);
}

}  // namespace fulcrum
