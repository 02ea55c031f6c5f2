// A batch through an objective's prepare() and loss() at once, as the learner would: the gradient in the
// log-probs comes back in double. For tests of objectives that need more of a batch than LossFixture makes.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "engine/objective/objective.h"

namespace fulcrum::testing {

struct ObjectiveRun {
  Status status;
  double loss = 0;
  at::Tensor gradient_N;  // in the log-probs
  Metrics prepared, metrics;
  TrainBatch batch;  // after prepare()
};

inline at::Tensor doubles_of(const std::vector<float>& values) {
  return values.empty() ? at::Tensor() : at::tensor(values, at::kFloat).to(at::kDouble);
}

inline LossInput loss_input(const TrainBatch& batch, const at::Tensor& logps_N, const Needs& needs) {
  LossInput input(batch);
  input.logps_N = logps_N;
  input.row_N = at::tensor(batch.target_row, at::kLong);
  input.mask_N = at::tensor(batch.target_mask, at::kByte).to(at::kBool);
  if (needs.old_logps) input.old_logps_N = doubles_of(batch.old_logps);
  if (needs.reference_logps) input.reference_logps_N = doubles_of(batch.reference_logps);
  input.sampling_logps_N = doubles_of(batch.sampling_logps);
  if (needs.values) {
    input.old_values_N = doubles_of(batch.old_values);
    input.values_N = input.old_values_N;
    input.returns_N = doubles_of(batch.returns);
  }
  if (!batch.stored_logps.empty()) input.stored_logps_N = doubles_of(batch.stored_logps);
  input.advantages_N = doubles_of(batch.advantages);
  return input;
}

inline ObjectiveRun run_objective(const Objective& objective, ObjectiveState& state, TrainBatch batch,
                                  const at::Tensor& logps_N) {
  ObjectiveRun out;
  out.status = objective.prepare(batch, state, out.prepared);
  if (!out.status.ok()) return out;
  const at::Tensor leaf_N = logps_N.detach().to(at::kDouble).clone().set_requires_grad(true);
  const auto result = objective.loss(loss_input(batch, leaf_N, objective.needs()));
  out.status = result.status();
  if (!result.ok()) return out;
  out.loss = result->loss.item<double>();
  out.metrics = result->metrics;
  if (result->loss.requires_grad()) result->loss.backward();
  out.gradient_N = leaf_N.grad().defined() ? leaf_N.grad() : at::zeros_like(leaf_N);
  out.batch = std::move(batch);
  return out;
}

}  // namespace fulcrum::testing
