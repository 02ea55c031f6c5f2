// What the losses over pairs share: rows 2i and 2i + 1 of a batch are the chosen and the rejected completion
// of one prompt. Called by dpo.cpp, tdpo.cpp and (for its pairing) reward_model.cpp. Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/core/status.h"
#include "engine/objective/objective.h"

namespace fulcrum {

// Checks the pairing, sets the denominator to the number of pairs, and counts pairs/empty (a completion
// without tokens: its log-ratio is 0) and pairs/identical (loss log 2; both stay in the loss).
Status prepare_pairs(TrainBatch& batch, Metrics& metrics);

// Pairs of two different texts; bool [P]. Where the two are equal their gradients cancel but for rounding,
// and an optimizer that divides by the gradient's size makes steps of that rounding: dpo and reward leave it
// out.
at::Tensor distinct_pairs(const TrainBatch& batch);
void mask_identical_pairs(TrainBatch& batch);

// The pairs of a micro-batch, P of them. A pair in which a log-prob that counts is not finite is dropped,
// with a warning that names the row: it adds nothing to the loss and gets no gradient.
struct Pairs {
  at::Tensor counts_P;  // bool: not dropped
  at::Tensor mask_N;    // bool: targets that enter the loss, those of dropped pairs left out
  at::Tensor ratio_R;   // sum over the tokens of log pi - log reference, double, differentiable

  int64_t size() const { return counts_P.size(0); }
};
Result<Pairs> find_pairs(const LossInput& input);

// The chosen and the rejected rows' entries of x.
inline at::Tensor chosen(const at::Tensor& x_R) { return x_R.view({-1, 2}).select(1, 0); }
inline at::Tensor rejected(const at::Tensor& x_R) { return x_R.view({-1, 2}).select(1, 1); }

// The slice's share of the step's loss. kDataLoss if it is not finite.
Result<at::Tensor> mean_pair_loss(const LossInput& input, const Pairs& pairs, const at::Tensor& loss_P);

// The mean of x over the pairs that count.
void add_pair_mean(Metrics& metrics, const std::string& name, const at::Tensor& x_P, const Pairs& pairs);
// kDataLoss if every pair of the step was dropped.
Status check_pairs_left(const Metrics& metrics);
// rewards/*, logps/*, pairs/dropped and the sums behind rewards/ece, of the implicit rewards and of their
// difference, as exact as the objective has it.
void add_pair_metrics(const LossInput& input, const Pairs& pairs, const at::Tensor& reward_R,
                      const at::Tensor& reward_margin_P, Metrics& metrics);

}  // namespace fulcrum
