#include "engine/learner/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "engine/learner/tensors.h"

namespace fulcrum {
namespace {

std::vector<at::Tensor> gradients(const NamedTensors& parameters) {
  std::vector<at::Tensor> out;
  for (const auto& [name, leaf] : parameters) {
    if (leaf.grad().defined()) out.push_back(leaf.grad());
  }
  return out;
}

std::vector<at::Tensor> clones(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& t : tensors) out.push_back(t.detach().clone());
  return out;
}

double norm_of(const std::vector<at::Tensor>& tensors) {
  double sum = 0;
  for (const at::Tensor& t : tensors) {
    const double norm = at::linalg_vector_norm(t).item().toDouble();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

}  // namespace

void clear_gradients(const NamedTensors& parameters) {
  for (const auto& [name, leaf] : parameters) leaf.mutable_grad().reset();
}

double gradient_norm(const NamedTensors& parameters) { return norm_of(gradients(parameters)); }

double weight_norm(const NamedTensors& parameters) {
  std::vector<at::Tensor> weights;
  for (const auto& [name, leaf] : parameters) weights.push_back(leaf.detach());
  return norm_of(weights);
}

// The factor is torch's (clip_grad_norm_), so that runs compare.
void clip_gradients(const NamedTensors& parameters, double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  if (max_norm > 0 && factor < 1) at::_foreach_mul_(gradients(parameters), factor);
}

AdamW::AdamW(NamedTensors parameters, const LearnerConfig& config)
    : parameters_(std::move(parameters)),
      beta1_(config.adam_beta1),
      beta2_(config.adam_beta2),
      epsilon_(config.adam_epsilon) {
  Group matrices{config.weight_decay, {}}, vectors{0, {}};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& leaf = parameters_[i].second;
    first_.push_back(at::zeros_like(leaf));
    second_.push_back(at::zeros_like(leaf));
    (leaf.dim() >= 2 ? matrices : vectors).members.push_back(i);
  }
  groups_ = {std::move(matrices), std::move(vectors)};
}

// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2 (their eta_t alpha is the
// rate; the decay is multiplied by it, as in torch): m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w = w -
// rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w). LibTorch's fused kernel: one pass.
void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_gradients;
  const at::Tensor count = at::scalar_tensor(static_cast<double>(++steps_), at::kFloat);
  for (const Group& group : groups_) {
    std::vector<at::Tensor> weights, gradients, first, second;
    for (const size_t i : group.members) {
      const at::Tensor& leaf = parameters_[i].second;
      weights.push_back(leaf);
      gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
      first.push_back(first_[i]);
      second.push_back(second_[i]);
    }
    const std::vector<at::Tensor> counts(weights.size(), count);
    if (weights.empty()) continue;
    at::_fused_adamw_(weights, gradients, first, second, {}, counts, learning_rate, beta1_, beta2_,
                      group.weight_decay, epsilon_, false, false);
  }
}

void AdamW::save(TensorMap& into) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    into["exp_avg/" + parameters_[i].first] = copy_out(first_[i]);
    into["exp_avg_sq/" + parameters_[i].first] = copy_out(second_[i]);
  }
}

Status AdamW::load(const TensorMap& from, int64_t steps) {
  std::vector<at::Tensor> first, second;
  for (const auto& [name, leaf] : parameters_) {
    TRY(m, copy_in(from, "exp_avg/" + name, leaf));
    TRY(v, copy_in(from, "exp_avg_sq/" + name, leaf));
    first.push_back(m);
    second.push_back(v);
  }
  first_ = std::move(first);
  second_ = std::move(second);
  steps_ = steps;
  return ok_status();
}

AdamW::Snapshot AdamW::snapshot() const {
  Snapshot out{{}, clones(first_), clones(second_), steps_};
  for (const auto& [name, leaf] : parameters_) out.parameters.push_back(leaf.detach().clone());
  return out;
}

void AdamW::restore(const Snapshot& snapshot) {
  const at::NoGradGuard no_gradients;
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].second.copy_(snapshot.parameters[i]);
  first_ = clones(snapshot.first);
  second_ = clones(snapshot.second);
  steps_ = snapshot.steps;
}

}  // namespace fulcrum
