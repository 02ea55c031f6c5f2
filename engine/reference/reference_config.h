// The keys that say what the policy is held to, TRL's names first. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "engine/core/config.h"

namespace fulcrum {

// Weights of a part of the tensors of a soup, in place of the soup's own.
struct SoupRule {
  std::string tensors;
  std::vector<double> weights;

  void visit(ConfigVisitor& v) {
    v.field("tensors", tensors,
            "layers by number (3, 0-5), or a part of the tensors' names (mlp, embed_tokens, lm_head)");
    v.field("weights", weights, at_least(0), "one weight a model");
  }
};

// The reference as a bias-corrected moving average of the policy; TRL's names and defaults.
struct BemaConfig {
  bool update_ref_model = false;
  int64_t update_freq = 400;
  double ema_power = 0.5;
  double bias_power = 0.2;
  double lag = 10;
  double multiplier = 1;

  void visit(ConfigVisitor& v) {
    v.field(
        "update_ref_model", update_ref_model,
        "every update_freq steps t the reference becomes EMA_t + (lag + multiplier t)^-bias_power (policy "
        "- policy as it started)");
    v.field("update_freq", update_freq, at_least(1), "steps between moves");
    v.field("ema_power", ema_power, at_least(0),
            "EMA_t takes up (lag + multiplier t)^-ema_power of the policy; 0: all of it");
    v.field("bias_power", bias_power, at_least(0), "how fast the correction fades");
    v.field("lag", lag, at_least(1), "the age that the average starts with");
    v.field("multiplier", multiplier, at_least(0), "how fast it ages");
  }
};

struct ReferenceConfig {
  std::string ref_model;
  bool sync_ref_model = false;
  double ref_model_mixup_alpha = 0.6;
  int64_t ref_model_sync_steps = 512;
  BemaConfig bema;
  std::vector<std::string> ref_soup;
  std::vector<double> ref_soup_weights;
  bool precompute_ref_log_probs = false;
  std::string ref_log_probs_cache;
  std::vector<SoupRule> ref_soup_layer_weights;
  double ref_soup_interpolation = 1;

  void visit(ConfigVisitor& v) {
    v.field("ref_model", ref_model, "folder of the reference model; empty: the policy as it starts");
    v.field("sync_ref_model", sync_ref_model,
            "move the reference towards the policy every ref_model_sync_steps");
    v.field("ref_model_mixup_alpha", ref_model_mixup_alpha, between(0, 1),
            "reference <- alpha * policy + (1 - alpha) * reference");
    v.field("ref_model_sync_steps", ref_model_sync_steps, at_least(1),
            "steps between moves of the reference");
    v.section("bema", bema, "a reference that is a bias-corrected moving average of the policy (BEMA)");
    v.field("ref_soup", ref_soup,
            "folders of models whose average is the reference (SALSA); excludes ref_model");
    v.field("ref_soup_weights", ref_soup_weights, at_least(0),
            "weights of the soup, as many as ref_soup, divided by their sum; empty: equal");
    v.list("ref_soup_layer_weights", ref_soup_layer_weights,
           "other weights for a part of the tensors; the first entry that names a tensor counts");
    v.field("ref_soup_interpolation", ref_soup_interpolation, between(0, 1),
            "reference <- (1 - x) * policy as it starts + x * soup");
    v.field("precompute_ref_log_probs", precompute_ref_log_probs,
            "dpo: compute the reference's log-probs of all rows before training, keep them on disk and the "
            "model out of memory");
    v.field("ref_log_probs_cache", ref_log_probs_cache,
            "folder of the precomputed log-probs, so that jobs share them; empty: the run folder");
  }
};

// Whether the policy's steps change it.
inline bool moves(const ReferenceConfig& c) { return c.sync_ref_model || c.bema.update_ref_model; }

// What single ranges cannot say: which of these keys exclude or need each other. One line each; none: fine.
inline std::vector<std::string> reference_complaints(const ReferenceConfig& c) {
  std::vector<std::string> out;
  const ReferenceConfig unset;
  if (!c.sync_ref_model && (c.ref_model_mixup_alpha != unset.ref_model_mixup_alpha ||
                            c.ref_model_sync_steps != unset.ref_model_sync_steps)) {
    out.emplace_back(
        "'ref_model_mixup_alpha' and 'ref_model_sync_steps' do nothing without 'sync_ref_model'");
  }
  if (!c.bema.update_ref_model && write_config(c.bema) != write_config(BemaConfig{}))
    out.emplace_back("the keys of 'bema' do nothing without its 'update_ref_model'");
  if (c.bema.update_ref_model && c.sync_ref_model)
    out.emplace_back("'bema.update_ref_model' and 'sync_ref_model' exclude each other: two ways to move");
  if (c.bema.update_ref_model && (!c.ref_model.empty() || !c.ref_soup.empty())) {
    out.emplace_back(
        "'bema.update_ref_model' averages the policy from where it starts: leave 'ref_model' and 'ref_soup' "
        "out");
  }
  const size_t models = c.ref_soup.size();
  if (models == 0) {
    if (!c.ref_soup_weights.empty() || !c.ref_soup_layer_weights.empty() || c.ref_soup_interpolation != 1)
      out.emplace_back("keys of a soup are set without 'ref_soup', which names its models");
    return out;
  }
  if (!c.ref_model.empty()) {
    out.emplace_back(
        "'ref_soup' and 'ref_model' exclude each other: a reference is one model or a soup of several");
  }
  if (!c.ref_soup_weights.empty() && c.ref_soup_weights.size() != models)
    out.emplace_back("'ref_soup_weights' must have as many entries as 'ref_soup'");
  for (const SoupRule& rule : c.ref_soup_layer_weights) {
    if (rule.weights.size() == models) continue;
    out.emplace_back(
        "each entry of 'ref_soup_layer_weights' must have as many weights as 'ref_soup' has models");
    break;
  }
  return out;
}

}  // namespace fulcrum
