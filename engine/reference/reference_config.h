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

struct ReferenceConfig {
  std::string ref_model;
  bool sync_ref_model = false;
  double ref_model_mixup_alpha = 0.6;
  int64_t ref_model_sync_steps = 512;
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

// What single ranges cannot say: which of these keys exclude or need each other. One line each; none: fine.
inline std::vector<std::string> reference_complaints(const ReferenceConfig& c) {
  std::vector<std::string> out;
  const ReferenceConfig unset;
  if (!c.sync_ref_model && (c.ref_model_mixup_alpha != unset.ref_model_mixup_alpha ||
                            c.ref_model_sync_steps != unset.ref_model_sync_steps)) {
    out.emplace_back(
        "'ref_model_mixup_alpha' and 'ref_model_sync_steps' do nothing without 'sync_ref_model'");
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
