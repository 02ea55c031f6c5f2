#include "engine/reference/reference.h"

#include <optional>

#include "engine/core/text.h"
#include "engine/reference/bema.h"
#include "engine/reference/compare_models.h"
#include "engine/reference/parameters.h"
#include "engine/reference/soup.h"

namespace fulcrum {
namespace {

const std::string kAverage = "bema/";  // of the tensors in a checkpoint

// A model of its own, frozen or following the policy.
class ModelReference final : public Reference {
 public:
  ModelReference(std::unique_ptr<Policy> model, const ReferenceConfig& config, std::string origin)
      : model_(std::move(model)),
        rule_{config.sync_ref_model ? config.ref_model_mixup_alpha : 0, config.ref_model_sync_steps},
        origin_(std::move(origin)),
        is_soup_(!config.ref_soup.empty()),
        hash_(fulcrum::content_hash(copy_parameters(*model_))) {
    // The reference starts as the policy.
    if (config.bema.update_ref_model) bema_.emplace(config.bema, *model_);
  }

  Result<std::vector<float>> logps(const TrainBatch& batch, double temperature, int64_t max_tokens,
                                   int64_t chunk, std::stop_token stop) override {
    return batch_logps(*model_, batch, temperature, max_tokens, chunk, std::move(stop));
  }

  Policy* model() override { return model_.get(); }

  Status after_step(int64_t step, const Policy& policy) override {
    TRY(moved, bema_ ? bema_->after_step(step, policy, *model_) : follow(*model_, policy, rule_, step));
    if (moved) moved_to(version_ + 1);
    return ok_status();
  }

  int64_t version() const override { return version_; }
  const std::string& content_hash() const override { return hash_; }
  std::string origin() const override { return origin_; }
  bool is_soup() const override { return is_soup_; }

  TensorMap save() const override {
    TensorMap out = moves() ? copy_parameters(*model_) : TensorMap{};
    if (!bema_) return out;
    for (auto& [name, tensor] : bema_->save()) out.emplace(kAverage + name, tensor);
    return out;
  }

  Status load(const TensorMap& tensors, int64_t version) override {
    if (!moves()) {
      if (tensors.empty() && version == 0) return ok_status();
      return invalid_argument(
          "the checkpoint holds a moving reference: set sync_ref_model, or bema, as it was");
    }
    if (version < 0) return invalid_argument("a reference's version cannot be negative");
    TensorMap weights, average;
    for (const auto& [name, tensor] : tensors) {
      if (name.starts_with(kAverage))
        average.emplace(name.substr(kAverage.size()), tensor);
      else
        weights.emplace(name, tensor);
    }
    const char* misfit = "the checkpoint's reference does not fit";
    TRY_DO(set_parameters(*model_, weights).with_context(misfit));
    if (bema_)
      TRY_DO(bema_->load(average).with_context(misfit));
    else if (!average.empty())
      return invalid_argument("the checkpoint's reference moved by bema: set it as it was");
    moved_to(version);
    return ok_status();
  }

 private:
  bool moves() const { return rule_.alpha > 0 || bema_; }
  void moved_to(int64_t version) {
    version_ = version;
    hash_ = fulcrum::content_hash(copy_parameters(*model_));
  }

  std::unique_ptr<Policy> model_;
  MoveRule rule_;
  std::optional<Bema> bema_;  // else by the rule
  std::string origin_;
  bool is_soup_;
  int64_t version_ = 0;
  std::string hash_;
};

Status check_options(const ReferenceConfig& config) {
  const std::vector<std::string> complaints = reference_complaints(config);
  return complaints.empty() ? ok_status() : invalid_argument(join(complaints, "; "));
}

Result<Ingredient> load_named(const std::string& key, const std::string& path) {
  auto model = load_ingredient(path);
  if (!model.ok()) return model.status().with_context(key + " " + in_quotes(path));
  model->name = key + " " + in_quotes(path);
  return model;
}

Result<Ingredient> load_soup(const ReferenceConfig& config, const Ingredient& start) {
  std::vector<Ingredient> models;
  for (const std::string& path : config.ref_soup) {
    TRY(model, load_named("ref_soup", path));
    models.push_back(std::move(model));
  }
  SoupPlan plan{.weights = config.ref_soup_weights,
                .rules = config.ref_soup_layer_weights,
                .interpolation = config.ref_soup_interpolation};
  if (plan.interpolation != 1) plan.base = &start;
  auto soup = make_soup(models, plan);
  if (!soup.ok()) return soup.status().with_context("ref_soup");
  Ingredient out = std::move(models[0]);
  out.model = std::move(soup).value();
  out.name = "soup of " + std::to_string(config.ref_soup.size()) + " models";
  return out;
}

// What the reference is made of: the policy as it starts unless the config names others.
Result<Ingredient> choose_model(const ReferenceConfig& config, const Model& start) {
  TRY_DO(check_options(config));
  if (config.ref_model.empty() && config.ref_soup.empty())
    return Ingredient{.name = "the policy as it starts", .model = start};
  const Ingredient policy = as_ingredient(start, "the policy");
  TRY(other, config.ref_soup.empty() ? load_named("ref_model", config.ref_model) : load_soup(config, policy));
  TRY_DO(check_same_kind(policy, other));
  return other;
}

}  // namespace

Result<std::string> reference_content_hash(const ReferenceConfig& config, const Model& start) {
  TRY(chosen, choose_model(config, start));
  TensorMap exact;
  for (const auto& [name, tensor] : chosen.model.tensors) {
    TRY(values, to_float(tensor));
    exact.emplace(name, make_tensor(tensor.shape, values));
  }
  return content_hash(exact);
}

Result<std::unique_ptr<Reference>> make_reference(const ReferenceConfig& config, const Model& start,
                                                  const PolicyOptions& options) {
  TRY(chosen, choose_model(config, start));
  PolicyOptions reading = options;
  reading.gradient_checkpointing = false;
  TRY(policy, Policy::create(chosen.model, reading));
  return std::unique_ptr<Reference>(
      std::make_unique<ModelReference>(std::move(policy), config, std::move(chosen.name)));
}

}  // namespace fulcrum
