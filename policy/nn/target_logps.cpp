#include "policy/nn/target_logps.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mv.h>

#include <algorithm>

#include "engine/data/slice.h"
#include "policy/nn/placed.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

Status bad_token(TokenId id, int64_t vocab_size, int64_t prompt_row) {
  return invalid_argument("token " + std::to_string(id) + " in row " + std::to_string(prompt_row) +
                          " is outside the model's vocabulary of " + std::to_string(vocab_size) +
                          ": the tokenizer does not fit the model");
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

at::Tensor target_states(const at::Tensor& hidden_TD, const TrainBatch& slice) {
  return hidden_TD.index_select(0, placed(slice.target_source, hidden_TD.device()));
}

at::Tensor target_ids(const TrainBatch& slice, at::Device device) {
  return placed(slice.target_ids, device, at::kLong);
}

at::Tensor last_states(const at::Tensor& hidden_TD, const TrainBatch& slice) {
  std::vector<int64_t> last;
  for (const BatchRow& row : slice.rows) {
    const bool empty = row.token_begin == row.token_end;
    last.push_back((empty ? slice.groups[static_cast<size_t>(row.group)].prompt_end : row.token_end) - 1);
  }
  return hidden_TD.index_select(0, placed(last, hidden_TD.device()));
}

at::Tensor state_logps(const Policy& policy, const at::Tensor& states_ND, const TrainBatch& slice,
                       double temperature, int64_t chunk, at::Tensor* entropy_N) {
  return token_logps(states_ND, policy.output_weight(), target_ids(slice, states_ND.device()), temperature,
                     chunk, entropy_N);
}

at::Tensor target_logps(Policy& policy, const TrainBatch& slice, double temperature, int64_t chunk) {
  return state_logps(policy, target_states(policy.hidden(slice), slice), slice, temperature, chunk);
}

at::Tensor scores(const at::Tensor& hidden_ND, const at::Tensor& weight_1D) {
  return at::mv(hidden_ND.to(at::kFloat), weight_1D.to(at::kFloat).squeeze(0));
}

Result<std::vector<float>> batch_logps(Policy& policy, const TrainBatch& batch, double temperature,
                                       int64_t max_tokens, int64_t chunk, std::stop_token stop) {
  if (policy.spec().score_head)
    return invalid_argument("the model has a score head, not a language head: it gives no log-probs");
  TRY_DO(check_vocabulary(batch, policy.spec()));
  return catch_torch("log-probs", [&]() -> Result<std::vector<float>> {
    const at::NoGradGuard no_gradients;
    std::vector<float> out;
    out.reserve(batch.target_ids.size());
    for (const RowRange range : micro_batches(batch, max_tokens, false)) {
      if (stop.stop_requested()) return cancelled();
      const TrainBatch part = slice(batch, range);
      if (part.num_targets() == 0) continue;
      const at::Tensor logps_N = target_logps(policy, part, temperature, chunk).to(at::kCPU);
      const float* values = logps_N.const_data_ptr<float>();
      out.insert(out.end(), values, values + logps_N.numel());
    }
    return out;
  });
}

}  // namespace fulcrum
