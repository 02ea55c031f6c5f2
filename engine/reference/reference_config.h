// The keys that say what the policy is held to, TRL's names first. Torch-free.
#pragma once

#include <string>
#include <vector>

#include "engine/core/config.h"

namespace fulcrum {

struct ReferenceConfig {
  std::string ref_model;
  bool sync_ref_model = false;
  double ref_model_mixup_alpha = 0.6;
  int64_t ref_model_sync_steps = 512;
  std::vector<std::string> ref_soup;
  std::vector<double> ref_soup_weights;
  bool precompute_ref_log_probs = false;
  std::string ref_log_probs_cache;

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
            "weights of the soup, as many as ref_soup; empty: equal");
    v.field("precompute_ref_log_probs", precompute_ref_log_probs,
            "dpo: compute the reference's log-probs of all rows before training, keep them on disk and the "
            "model out of memory");
    v.field("ref_log_probs_cache", ref_log_probs_cache,
            "folder of the precomputed log-probs, so that jobs share them; empty: the run folder");
  }
};

}  // namespace fulcrum
