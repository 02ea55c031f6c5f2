#include "engine/reference/reference.h"

#include "engine/core/text.h"
#include "engine/reference/compare_models.h"
#include "engine/reference/parameters.h"

namespace fulcrum {
namespace {

// A model of its own, frozen or moved towards the policy every `sync_steps` optimizer steps (TRL's
// sync_ref_model, arXiv 2404.09656).
class ModelReference final : public Reference {
 public:
  ModelReference(std::unique_ptr<Policy> model, const ReferenceConfig& config)
      : model_(std::move(model)),
        moves_(config.sync_ref_model),
        alpha_(config.ref_model_mixup_alpha),
        sync_steps_(config.ref_model_sync_steps),
        hash_(fulcrum::content_hash(copy_parameters(*model_))) {}

  Result<std::vector<float>> logps(const TrainBatch& batch, double temperature, int64_t max_tokens,
                                   int64_t chunk, std::stop_token stop) override {
    return batch_logps(*model_, batch, temperature, max_tokens, chunk, std::move(stop));
  }

  Policy* model() override { return model_.get(); }

  Status after_step(int64_t step, const Policy& policy) override {
    if (!moves_ || step % sync_steps_ != 0) return ok_status();
    TRY_DO(mix_parameters(*model_, policy, alpha_));
    moved_to(version_ + 1);
    return ok_status();
  }

  int64_t version() const override { return version_; }
  const std::string& content_hash() const override { return hash_; }

  TensorMap save() const override { return moves_ ? copy_parameters(*model_) : TensorMap{}; }

  Status load(const TensorMap& tensors, int64_t version) override {
    if (!moves_) {
      if (tensors.empty() && version == 0) return ok_status();
      return invalid_argument("the checkpoint holds a moving reference: set sync_ref_model as it was");
    }
    if (version < 0) return invalid_argument("a reference's version cannot be negative");
    TRY_DO(set_parameters(*model_, tensors).with_context("the checkpoint's reference does not fit"));
    moved_to(version);
    return ok_status();
  }

 private:
  void moved_to(int64_t version) {
    version_ = version;
    hash_ = fulcrum::content_hash(copy_parameters(*model_));
  }

  std::unique_ptr<Policy> model_;
  bool moves_;
  double alpha_;
  int64_t sync_steps_;
  int64_t version_ = 0;
  std::string hash_;
};

Status check_options(const ReferenceConfig& config) {
  if (!config.ref_model.empty() && !config.ref_soup.empty()) {
    return invalid_argument(
        "ref_model and ref_soup exclude each other: a reference is one model or a soup of several");
  }
  if (!config.ref_soup_weights.empty() && config.ref_soup_weights.size() != config.ref_soup.size()) {
    return invalid_argument("ref_soup_weights has " + std::to_string(config.ref_soup_weights.size()) +
                            " numbers for a ref_soup of " + std::to_string(config.ref_soup.size()) +
                            " models");
  }
  return ok_status();
}

Result<Model> load_named(const std::string& key, const std::string& path) {
  auto model = load_model(path);
  if (!model.ok()) return model.status().with_context(key + " " + in_quotes(path));
  return model;
}

Result<Model> load_soup(const ReferenceConfig& config) {
  std::vector<Model> models;
  for (const std::string& path : config.ref_soup) {
    TRY(model, load_named("ref_soup", path));
    models.push_back(std::move(model));
  }
  const std::vector<double> weights =
      config.ref_soup_weights.empty() ? std::vector<double>(models.size(), 1.0) : config.ref_soup_weights;
  auto soup = make_soup(models, weights);
  if (!soup.ok()) return soup.status().with_context("ref_soup");
  return soup;
}

// What the reference is made of: the policy as it starts unless the config names others.
Result<Model> reference_model(const ReferenceConfig& config, const Model& start) {
  TRY_DO(check_options(config));
  if (config.ref_model.empty() && config.ref_soup.empty()) return start;
  TRY(model, config.ref_soup.empty() ? load_named("ref_model", config.ref_model) : load_soup(config));
  TRY_DO(check_same_kind(start, "the policy", model,
                         config.ref_soup.empty() ? "its ref_model" : "its ref_soup"));
  return model;
}

}  // namespace

Result<std::string> reference_content_hash(const ReferenceConfig& config, const Model& start) {
  TRY(model, reference_model(config, start));
  TensorMap exact;
  for (const auto& [name, tensor] : model.tensors) {
    TRY(values, to_float(tensor));
    exact.emplace(name, make_tensor(tensor.shape, values));
  }
  return content_hash(exact);
}

Result<std::unique_ptr<Reference>> make_reference(const ReferenceConfig& config, const Model& start,
                                                  const PolicyOptions& options) {
  TRY(model, reference_model(config, start));
  PolicyOptions reading = options;
  reading.gradient_checkpointing = false;
  TRY(policy, Policy::create(model, reading));
  return std::unique_ptr<Reference>(std::make_unique<ModelReference>(std::move(policy), config));
}

}  // namespace fulcrum
