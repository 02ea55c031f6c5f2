#include "engine/learner/micro_batch.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "engine/objective/masked.h"
#include "policy/nn/target_logps.h"

namespace fulcrum {
namespace {

at::Tensor floats(const std::vector<float>& values) {
  return values.empty() ? at::Tensor() : at::tensor(at::ArrayRef<float>(values), at::kFloat);
}

// The model's outputs cut from their graph, and the way back: the loss's gradient with respect to them is
// taken on its own, and what goes through the model is that gradient, whatever the loss was.
class Cut {
 public:
  explicit Cut(const ModelOutputs& outputs)
      : leaves_{leaf(outputs.logps_N), leaf(outputs.divergence_N), leaf(outputs.values_N),
                leaf(outputs.scores_R)} {}

  const ModelOutputs& leaves() const { return leaves_; }

  void backward(const at::Tensor& loss) const {
    const auto gradients = torch::autograd::grad({loss}, cut_, {}, false, false, /*allow_unused=*/true);
    torch::autograd::variable_list roots, seeds;
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) continue;
      roots.push_back(whole_[i]);
      seeds.push_back(gradients[i]);
    }
    if (!roots.empty()) torch::autograd::backward(roots, seeds);
  }

 private:
  at::Tensor leaf(const at::Tensor& output) {
    if (!output.defined()) return {};
    whole_.push_back(output);
    cut_.push_back(output.detach().clone().set_requires_grad(true));
    return cut_.back();
  }

  torch::autograd::variable_list whole_, cut_;
  ModelOutputs leaves_;
};

LossInput make_input(const TrainBatch& slice, const ModelOutputs& leaves, const Needs& needs,
                     bool old_is_current) {
  LossInput out(slice);
  static_cast<ModelOutputs&>(out) = leaves;
  out.row_N = at::tensor(at::ArrayRef<int64_t>(slice.target_row), at::kLong);
  out.mask_N = at::tensor(at::ArrayRef<uint8_t>(slice.target_mask), at::kByte).to(at::kBool);
  if (needs.old_logps) out.old_logps_N = old_is_current ? leaves.logps_N.detach() : floats(slice.old_logps);
  if (needs.reference_logps) out.reference_logps_N = floats(slice.reference_logps);
  out.sampling_logps_N = floats(slice.sampling_logps);
  out.stored_logps_N = floats(slice.stored_logps);
  out.old_values_N = floats(slice.old_values);
  out.advantages_N = floats(slice.advantages);
  out.returns_N = floats(slice.returns);
  return out;
}

// `entropy_N` and `reference_logps_N` receive what the objective needs of them.
ModelOutputs run_models(const Models& models, const Objective& objective, const TrainBatch& slice,
                        const ForwardOptions& options, at::Tensor& entropy_N, at::Tensor& reference_logps_N) {
  const Needs needs = objective.needs();
  ModelOutputs out;
  const at::Tensor hidden_TD = models.policy.hidden(slice);
  if (needs.divergence) {
    const TokenDivergences both =
        state_divergences(models.policy, target_states(hidden_TD, slice), *models.reference, slice,
                          objective.divergence(), options.temperature, options.logits_chunk);
    out.logps_N = both.logps_N;
    out.divergence_N = both.divergence_N;
    reference_logps_N = both.reference_logps_N;
  } else if (!models.policy.spec().score_head) {
    out.logps_N = state_logps(models.policy, target_states(hidden_TD, slice), slice, options.temperature,
                              options.logits_chunk, needs.entropy ? &entropy_N : nullptr);
  }
  if (needs.values) out.values_N = models.critic->values(hidden_TD, slice);
  if (needs.scores) out.scores_R = scores(last_states(hidden_TD, slice), models.policy.score_weight());
  return out;
}

// What the model said must be finite where it enters the loss; otherwise no objective is asked and the
// learner skips the step. Names the row.
Status check_outputs(const LossInput& input) {
  if (input.logps_N.defined()) TRY_DO(check_finite(input, input.logps_N, input.mask_N, "policy's log-prob"));
  if (input.values_N.defined()) TRY_DO(check_finite(input, input.values_N, input.mask_N, "critic's value"));
  if (!input.scores_R.defined()) return ok_status();
  const at::Tensor bad = (~input.scores_R.detach().isfinite()).nonzero();
  if (bad.size(0) == 0) return ok_status();
  const BatchRow& row = input.batch.rows[static_cast<size_t>(bad[0][0].item<int64_t>())];
  return data_loss("the score of an answer of row " + std::to_string(row.prompt_row) +
                   " is not finite: a model that has diverged");
}

}  // namespace

Result<MicroBatchResult> run_micro_batch(const Models& models, const Objective& objective,
                                         const TrainBatch& slice, const ForwardOptions& options,
                                         bool old_is_current) {
  const Needs needs = objective.needs();
  at::Tensor entropy_N;
  MicroBatchResult out;
  const ModelOutputs outputs =
      run_models(models, objective, slice, options, entropy_N, out.reference_logps_N);
  if (outputs.logps_N.defined()) out.logps_N = outputs.logps_N.detach();
  const Cut cut(outputs);
  LossInput input = make_input(slice, cut.leaves(), needs, old_is_current);
  if (out.reference_logps_N.defined()) input.reference_logps_N = out.reference_logps_N;
  if (const Status finite = check_outputs(input); !finite.ok()) {
    out.loss = std::numeric_limits<double>::quiet_NaN();
    out.not_finite = finite.message();
    return out;
  }
  TRY(loss, objective.loss(input));
  out.loss = loss.loss.item().toDouble();
  out.metrics = std::move(loss.metrics);
  if (entropy_N.defined()) {
    const at::Tensor mask_N = input.mask_N.to(at::kFloat);
    add_metric(out.metrics, "entropy", entropy_N.dot(mask_N).item().toDouble(),
               mask_N.sum().item().toDouble());
  }
  // No target of the slice enters the loss, or nobody wants a gradient.
  if (loss.loss.requires_grad()) cut.backward(loss.loss);
  return out;
}

}  // namespace fulcrum
