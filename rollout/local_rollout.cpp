#include "rollout/local_rollout.h"

#include <algorithm>
#include <optional>
#include <string>

namespace fulcrum {
namespace {

std::string name_of(PolicyVersion v) { return std::to_string(v.epoch) + "." + std::to_string(v.step); }

}  // namespace

LocalRollout::LocalRollout(std::shared_ptr<const Tokenizer> tokenizer, const GeneratorOptions& options,
                           int64_t kept_versions, DType dtype)
    : tokenizer_(std::move(tokenizer)),
      options_(options),
      kept_versions_(static_cast<size_t>(std::max<int64_t>(kept_versions, 1))),
      dtype_(dtype) {}

Status LocalRollout::publish(std::shared_ptr<const WeightSet> weights) {
  // A device may not have room for two. What generates holds its model itself; should the new one fail, there
  // is none, and nothing generates any more.
  if (options_.device.kernels != nullptr && kept_versions_ == 1) {
    const std::lock_guard lock(mutex_);
    models_.clear();
  }
  auto model = make_generating_model(weights->spec, weights->tensors, dtype_, options_);
  if (!model.ok()) return model.status().with_context("version " + name_of(weights->version));
  const std::lock_guard lock(mutex_);
  std::erase_if(models_, [&](const auto& m) { return m.first == weights->version; });
  models_.emplace_back(weights->version, std::move(model).value());
  while (models_.size() > kept_versions_) models_.pop_front();
  return ok_status();
}

Result<std::vector<RolloutGroup>> LocalRollout::generate(std::span<const RolloutRequest> requests,
                                                         PolicyVersion version, std::stop_token stop) {
  std::optional<GeneratingModel> model;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [published, m] : models_) {
      if (published == version) model = m;
    }
  }
  if (!model) {
    return failed_precondition("weights of version " + name_of(version) +
                               " are not here: never published, or older than the versions kept");
  }
  return make_generator(*model, tokenizer_, options_)->generate(requests, version, std::move(stop));
}

}  // namespace fulcrum
