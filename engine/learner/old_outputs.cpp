#include "engine/learner/old_outputs.h"

#include <ATen/core/grad_mode.h>

#include "engine/data/slice.h"
#include "policy/nn/target_logps.h"

namespace fulcrum {
namespace {

void append(const at::Tensor& x_N, std::vector<float>& to) {
  const float* values = x_N.const_data_ptr<float>();
  to.insert(to.end(), values, values + x_N.numel());
}

}  // namespace

Status fetch_old_outputs(const Models& models, const Needs& needs, const ForwardOptions& options,
                         TrainBatch& batch, const std::stop_token& stop) {
  if (!needs.policy_logps && !needs.values) return ok_status();
  const at::NoGradGuard no_gradients;
  std::vector<float> logps, values;
  for (const RowRange range : micro_batches(batch, options.max_tokens, needs.pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    at::Tensor hidden_TD;
    if (needs.policy_logps || models.critic->shared()) hidden_TD = models.policy.hidden(part);
    if (needs.policy_logps) {
      append(state_logps(models.policy, target_states(hidden_TD, part), part, options.temperature,
                         options.logits_chunk),
             logps);
    }
    if (needs.values) append(models.critic->values(hidden_TD, part), values);
  }
  batch.old_logps = std::move(logps);
  batch.old_values = std::move(values);
  return ok_status();
}

}  // namespace fulcrum
