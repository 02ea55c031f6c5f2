#include "engine/learner/old_outputs.h"

#include <ATen/core/grad_mode.h>

#include <array>

#include "engine/learner/rank_share.h"
#include "policy/nn/target_logps.h"

namespace fulcrum {

Status fetch_old_outputs(const Models& models, const Needs& needs, const ForwardOptions& options,
                         Agreement& ranks, TrainBatch& batch, const std::stop_token& stop) {
  if (!needs.policy_logps && !needs.values) return ok_status();
  const at::NoGradGuard no_gradients;
  std::vector<float> logps(needs.policy_logps ? batch.target_ids.size() : 0);
  std::vector<float> values(needs.values ? batch.target_ids.size() : 0);
  for (const RowRange range : my_share(ranks.group(), batch, options.max_tokens, needs.pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    at::Tensor hidden_TD;
    if (needs.policy_logps || models.critic->shared()) hidden_TD = models.policy.hidden(part);
    if (needs.policy_logps) {
      put_targets(batch, range,
                  state_logps(models.policy, target_states(hidden_TD, part), part, options.temperature,
                              options.logits_chunk),
                  logps);
    }
    if (needs.values) put_targets(batch, range, models.critic->values(hidden_TD, part), values);
  }
  TRY_DO(ranks.exchange(nullptr, "the policy before the update"));
  const std::array both = {&logps, &values};
  TRY_DO(sum_values(ranks.group(), both, "the policy before the update"));
  batch.old_logps = std::move(logps);
  batch.old_values = std::move(values);
  return ok_status();
}

}  // namespace fulcrum
