#include "engine/cli/engine/learned_soup.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

#include "engine/cli/engine/held_out.h"
#include "engine/data/slice.h"
#include "engine/learner/adamw.h"
#include "engine/reference/learned_weights.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum::cli {
namespace {

const LearnerConfig kLimits;

// The texts' loss in nats per token; adds its gradient to the policy's parameters.
Result<double> add_gradient(Policy& policy, const TrainBatch& batch, const std::stop_token& stop) {
  TRY_DO(check_vocabulary(batch, policy.spec()));
  const auto tokens = static_cast<double>(batch.num_targets());
  double nll = 0;
  for (const RowRange range : micro_batches(batch, kLimits.max_tokens_per_micro_batch, /*pairs=*/false)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    const at::Tensor loss = -target_logps(policy, part, 1.0, kLimits.logits_chunk).sum() / tokens;
    loss.backward();
    nll += loss.item().toDouble();
  }
  return nll;
}

// <dL/dtheta, theta_i> for each model, in double.
Result<std::vector<double>> products(const Policy& policy, std::span<const Ingredient> models) {
  std::vector<double> out(models.size(), 0.0);
  for (const auto& [name, leaf] : policy.parameters()) {
    if (!leaf.grad().defined()) continue;
    const at::Tensor gradient = leaf.grad().contiguous();
    const float* g = gradient.const_data_ptr<float>();
    for (size_t i = 0; i < models.size(); ++i) {
      TRY(theta, to_double(models[i].model.tensors.at(name)));
      for (size_t k = 0; k < theta.size(); ++k) out[i] += static_cast<double>(g[k]) * theta[k];
    }
  }
  return out;
}

std::vector<double> doubles(const at::Tensor& raw) {
  const float* values = raw.const_data_ptr<float>();
  return {values, values + raw.numel()};
}

Result<LearnedSoup> descend(std::span<const Ingredient> models, SoupPlan& plan, const TrainBatch& batch,
                            const LearningOptions& options, const std::function<void(int64_t)>& progress,
                            const std::stop_token& stop) {
  const at::Tensor raw = at::zeros({static_cast<int64_t>(models.size())});
  AdamW optimizer({{"raw", raw}}, kLimits);
  LearnedSoup out;
  for (int64_t step = 0; step <= options.steps; ++step) {
    plan.weights = softmax_weights(doubles(raw));
    TRY(soup, make_soup(models, plan));
    TRY(policy, Policy::create(soup, {}));
    TRY(nll, add_gradient(*policy, batch, stop));
    if (!std::isfinite(nll)) return data_loss("the held-out loss of the soup is not finite");
    if (step == 0) out.first_nll = nll;
    if (step == 0 || nll < out.best_nll) {
      out.best_nll = nll;
      out.weights = plan.weights;
    }
    TRY(g, products(*policy, models));
    const std::vector<double> gradient = raw_weight_gradient(plan.weights, g);
    raw.mutable_grad() = at::tensor(gradient, at::kFloat);
    optimizer.step(options.learning_rate);
    progress(step);
  }
  return out;
}

}  // namespace

Result<LearnedSoup> learn_weights(std::span<const Ingredient> models, SoupPlan plan, const Dataset& texts,
                                  const LearningOptions& options,
                                  const std::function<void(int64_t)>& progress, std::stop_token stop) {
  return catch_torch("learning the weights of the soup",
                     [&] { return descend(models, plan, pack_texts(texts), options, progress, stop); });
}

}  // namespace fulcrum::cli
