#include "policy/nn/target_logps.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "engine/data/slice.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

Status bad_token(TokenId id, int64_t vocab_size, int64_t prompt_row) {
  return invalid_argument("token " + std::to_string(id) + " in row " + std::to_string(prompt_row) +
                          " is outside the model's vocabulary of " + std::to_string(vocab_size) +
                          ": the tokenizer does not fit the model");
}

// The policy's head over the hidden states that predict the slice's targets.
Head head_at_targets(Policy& policy, const TrainBatch& slice) {
  const at::Tensor hidden_TD = policy.hidden(slice);
  const at::Tensor source_N = at::tensor(at::ArrayRef<int64_t>(slice.target_source), at::kLong);
  return {hidden_TD.index_select(0, source_N), policy.output_weight()};
}

at::Tensor target_ids(const TrainBatch& slice) {
  return at::tensor(at::ArrayRef<TokenId>(slice.target_ids), at::kLong);
}

}  // namespace

Status check_vocabulary(const TrainBatch& batch, const ModelSpec& spec) {
  const auto outside = [&](TokenId id) { return id < 0 || id >= spec.vocab_size; };
  for (const BatchRow& row : batch.rows) {
    const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
    for (const auto& [begin, end] :
         {std::pair(group.prompt_begin, group.prompt_end), std::pair(row.token_begin, row.token_end)}) {
      const auto last = batch.tokens.begin() + end;
      const auto bad = std::find_if(batch.tokens.begin() + begin, last, outside);
      if (bad != last) return bad_token(*bad, spec.vocab_size, row.prompt_row);
    }
  }
  return ok_status();
}

at::Tensor target_logps(Policy& policy, const TrainBatch& slice, double temperature, int64_t chunk,
                        at::Tensor* entropy_N) {
  const Head head = head_at_targets(policy, slice);
  return token_logps(head.hidden_ND, head.weight_VD, target_ids(slice), temperature, chunk, entropy_N);
}

TokenDivergences target_divergences(Policy& policy, Policy& reference, const TrainBatch& slice,
                                    std::shared_ptr<const Divergence> divergence, double temperature,
                                    int64_t chunk) {
  Head constant;
  {
    const at::NoGradGuard no_gradients;
    constant = head_at_targets(reference, slice);
  }
  return token_divergences(head_at_targets(policy, slice), constant, target_ids(slice), std::move(divergence),
                           temperature, chunk);
}

Result<std::vector<float>> batch_logps(Policy& policy, const TrainBatch& batch, double temperature,
                                       int64_t max_tokens, int64_t chunk, std::stop_token stop) {
  TRY_DO(check_vocabulary(batch, policy.spec()));
  return catch_torch("log-probs", [&]() -> Result<std::vector<float>> {
    const at::NoGradGuard no_gradients;
    std::vector<float> out;
    out.reserve(batch.target_ids.size());
    for (const RowRange range : micro_batches(batch, max_tokens, false)) {
      if (stop.stop_requested()) return cancelled();
      const TrainBatch part = slice(batch, range);
      if (part.num_targets() == 0) continue;
      const at::Tensor logps_N = target_logps(policy, part, temperature, chunk);
      const float* values = logps_N.const_data_ptr<float>();
      out.insert(out.end(), values, values + logps_N.numel());
    }
    return out;
  });
}

}  // namespace fulcrum
