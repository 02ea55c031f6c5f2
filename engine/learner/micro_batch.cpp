#include "engine/learner/micro_batch.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "policy/nn/target_logps.h"

namespace fulcrum {
namespace {

at::Tensor floats(const std::vector<float>& values) {
  return values.empty() ? at::Tensor() : at::tensor(at::ArrayRef<float>(values), at::kFloat);
}

LossInput make_input(const TrainBatch& slice, const at::Tensor& leaf_N, const Needs& needs,
                     bool old_is_current) {
  LossInput out{.batch = slice};
  out.logps_N = leaf_N;
  out.row_N = at::tensor(at::ArrayRef<int64_t>(slice.target_row), at::kLong);
  out.mask_N = at::tensor(at::ArrayRef<uint8_t>(slice.target_mask), at::kByte).to(at::kBool);
  if (needs.old_logps) out.old_logps_N = old_is_current ? leaf_N.detach() : floats(slice.old_logps);
  if (needs.reference_logps) out.reference_logps_N = floats(slice.reference_logps);
  out.sampling_logps_N = floats(slice.sampling_logps);
  out.stored_logps_N = floats(slice.stored_logps);
  out.advantages_N = floats(slice.advantages);
  return out;
}

}  // namespace

Result<MicroBatchResult> run_micro_batch(Policy& policy, const Objective& objective, const TrainBatch& slice,
                                         const MicroBatchOptions& options) {
  const Needs needs = objective.needs();
  at::Tensor entropy_N;
  const at::Tensor logps_N = target_logps(policy, slice, options.temperature, options.logits_chunk,
                                          needs.entropy ? &entropy_N : nullptr);
  MicroBatchResult out;
  out.logps_N = logps_N.detach();
  // The loss is a function of a few numbers: its gradient with respect to them is taken on its own, and what
  // goes through the model is that gradient, whatever the loss was.
  const at::Tensor leaf_N = out.logps_N.clone().set_requires_grad(true);
  const LossInput input = make_input(slice, leaf_N, needs, options.old_is_current);
  if (!std::isfinite(at::where(input.mask_N, out.logps_N, 0).sum().item().toDouble())) {
    out.loss = std::numeric_limits<double>::quiet_NaN();  // the learner skips the step; no objective is asked
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
  if (!loss.loss.requires_grad()) return out;
  const auto d_logps_N = torch::autograd::grad({loss.loss}, {leaf_N}, {}, false, false, true)[0];
  if (d_logps_N.defined()) torch::autograd::backward({logps_N}, {d_logps_N});
  return out;
}

}  // namespace fulcrum
