#include "reward/model/score_model.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "engine/data/slice.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

constexpr int64_t kMaxTokens = 16384;  // of one pass

}  // namespace

Result<std::unique_ptr<ScoreModel>> ScoreModel::create(const Model& model) {
  if (!model.spec.score_head) {
    return invalid_argument(
        "the model has no score head: it generates text; train a reward model with trainer 'reward' first");
  }
  TRY(policy, Policy::create(model, {}));
  return std::unique_ptr<ScoreModel>(new ScoreModel(std::move(policy)));
}

Result<std::vector<double>> ScoreModel::scores(const TrainBatch& batch, Deadline deadline,
                                               std::stop_token stop) {
  TRY_DO(check_vocabulary(batch, policy_->spec()));
  const std::lock_guard lock(mutex_);
  at::set_num_threads(1);  // the setting belongs to the calling thread
  return catch_torch("reward model", [&] { return run(batch, deadline, stop); });
}

Result<std::vector<double>> ScoreModel::run(const TrainBatch& batch, Deadline deadline,
                                            const std::stop_token& stop) {
  const at::NoGradGuard no_gradients;
  std::vector<double> out;
  for (const RowRange range : micro_batches(batch, kMaxTokens, false)) {
    if (stop.stop_requested()) return cancelled();
    if (deadline.passed()) return deadline_exceeded("the reward model did not finish in time");
    const TrainBatch part = slice(batch, range);
    const at::Tensor scores_R =
        fulcrum::scores(last_states(policy_->hidden(part), part), policy_->score_weight());
    for (int64_t r = 0; r < part.num_rows(); ++r) {
      out.push_back(static_cast<double>(scores_R.const_data_ptr<float>()[r]));
      if (!std::isfinite(out.back())) {
        return data_loss("the reward model's score of row " +
                         std::to_string(part.rows[static_cast<size_t>(r)].prompt_row) + " is not finite");
      }
    }
  }
  return out;
}

}  // namespace fulcrum
