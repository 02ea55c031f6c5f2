#include "engine/learner/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/kernels/adamw/op.h"
#include "engine/kernels/sum_of_squares/op.h"
#include "engine/learner/tensors.h"
#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

// Numbers that a thread takes at a time.
constexpr int64_t kPortion = 1 << 16;

// A part of one of several tensors.
struct Portion {
  size_t tensor;
  int64_t begin, count;
};
std::vector<Portion> portions(const std::vector<at::Tensor>& tensors) {
  std::vector<Portion> out;
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (int64_t begin = 0, n = tensors[t].numel(); begin < n; begin += kPortion)
      out.push_back({t, begin, std::min(kPortion, n - begin)});
  }
  return out;
}

std::vector<at::Tensor> gradients(const NamedTensors& parameters) {
  std::vector<at::Tensor> out;
  for (const auto& [name, leaf] : parameters) {
    if (leaf.grad().defined()) out.push_back(leaf.grad().contiguous());
  }
  return out;
}

std::vector<at::Tensor> clones(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& t : tensors) out.push_back(t.detach().clone());
  return out;
}

double norm_of(const std::vector<at::Tensor>& tensors) {
  if (!tensors.empty() && !tensors[0].is_cpu()) return device::norm(tensors);
  const std::vector<Portion> parts = portions(tensors);
  std::vector<double> sums(parts.size());
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    const Portion& p = parts[static_cast<size_t>(i)];
    sums[static_cast<size_t>(i)] =
        kernels::sum_of_squares(tensors[p.tensor].const_data_ptr<float>() + p.begin, p.count);
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

// Whether an update is made from gradients of these norms.
bool finite_and_some(std::span<const double> norms) {
  return std::all_of(norms.begin(), norms.end(), [](double x) { return std::isfinite(x); }) &&
         std::any_of(norms.begin(), norms.end(), [](double x) { return x != 0; });
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

// As torch's clip_grad_norm_, so that runs compare.
double clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return max_norm > 0 && factor < 1 ? factor : 1;
}

AdamW::AdamW(NamedTensors parameters, const LearnerConfig& config)
    : parameters_(std::move(parameters)),
      beta1_(config.adam_beta1),
      beta2_(config.adam_beta2),
      epsilon_(config.adam_epsilon),
      weight_decay_(config.weight_decay) {
  for (const auto& [name, leaf] : parameters_) {
    first_.push_back(at::zeros_like(leaf));
    second_.push_back(at::zeros_like(leaf));
  }
}

// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2 (their eta_t alpha is the
// rate; the decay is multiplied by it, as in torch): m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w = w -
// rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w). Only matrices decay.
kernels::AdamwStep AdamW::next_step(double learning_rate) const {
  const auto t = static_cast<double>(steps_ + 1);
  const auto narrow = [](double x) { return static_cast<float>(x); };
  return {.beta1 = narrow(beta1_),
          .beta2 = narrow(beta2_),
          .epsilon = narrow(epsilon_),
          .rate = narrow(learning_rate / (1 - std::pow(beta1_, t))),
          .kept = narrow(1 - learning_rate * weight_decay_),
          .root = narrow(std::sqrt(1 - std::pow(beta2_, t))),
          .gradient_scale = 1};
}

std::vector<device::Leaf> AdamW::leaves(std::span<const at::Tensor> rounded) const {
  std::vector<device::Leaf> out;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor &leaf = parameters_[i].second, &gradient = leaf.grad();
    out.push_back({gradient.defined() ? gradient.contiguous() : gradient, leaf, first_[i], second_[i],
                   rounded.empty() ? at::Tensor() : rounded[i]});
  }
  return out;
}

void AdamW::step(double learning_rate, double gradient_scale) {
  const at::NoGradGuard no_gradients;
  kernels::AdamwStep matrices = next_step(learning_rate);
  matrices.gradient_scale = static_cast<float>(gradient_scale);
  kernels::AdamwStep vectors = matrices;
  vectors.kept = 1;
  ++steps_;
  std::vector<device::Leaf> all = leaves();
  const auto of = [&](const device::Leaf& leaf) -> const kernels::AdamwStep& {
    return leaf.weights.dim() >= 2 ? matrices : vectors;
  };
  std::vector<at::Tensor> weights;
  for (device::Leaf& leaf : all) {
    if (!leaf.gradient.defined()) leaf.gradient = at::zeros_like(leaf.weights);
    weights.push_back(leaf.weights);
  }
  if (!all.empty() && !weights[0].is_cpu()) {
    for (const device::Leaf& leaf : all) device::plain_adamw(of(leaf), leaf);
    return;
  }
  const std::vector<Portion> parts = portions(weights);
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    const auto& [k, begin, count] = parts[static_cast<size_t>(i)];
    const device::Leaf& leaf = all[k];
    kernels::adamw(of(leaf), leaf.gradient.const_data_ptr<float>() + begin, count,
                   leaf.weights.mutable_data_ptr<float>() + begin,
                   leaf.first.mutable_data_ptr<float>() + begin,
                   leaf.second.mutable_data_ptr<float>() + begin);
  });
}

AdamW::Stepped AdamW::step_clipped(std::span<const Clipped> updates) {
  const at::NoGradGuard no_gradients;
  std::vector<device::ClippedStep> steps;
  for (const Clipped& u : updates) {
    steps.push_back(
        {u.adamw.on_device_, u.adamw.leaves(u.rounded), u.adamw.next_step(u.learning_rate), u.max_norm});
  }
  if (!steps[0].leaves[0].weights.is_cpu()) {
    if (const auto norms = device::clipped_adamw(steps)) {
      for (const Clipped& update : updates) update.adamw.steps_ += finite_and_some(*norms) ? 1 : 0;
      return {*norms, true};
    }
  }
  std::vector<double> norms;
  for (const Clipped& update : updates) norms.push_back(gradient_norm(update.adamw.parameters_));
  for (size_t i = 0; i < updates.size() && finite_and_some(norms); ++i) {
    const Clipped& update = updates[i];
    update.adamw.step(update.learning_rate, clip_factor(norms[i], update.max_norm));
  }
  return {norms, false};
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
