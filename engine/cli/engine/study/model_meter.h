// What a study says of a model: rewards, pass@k, how far it is from the base, how varied its samples are.
// Called by the study runner. One thread.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/cli/engine/study/study_config.h"
#include "engine/pipeline/evaluate.h"
#include "policy/nn/policy.h"

namespace fulcrum::cli {

// By name; a measure's label and a slash stand before all but those of the main measure:
// - reward, reward/<name>: mean score, and of each judge
// - pass@<k>, maj@<k>: over the prompts
// - keep_rate, new_solve_rate: against the base (reward/pass_at_k.h)
// - kl, kl_reverse: KL(model || base) on the model's samples, KL(base || model) on the base's, in nats a text
// - entropy: on the model's samples, in nats a token
// - distinct_1, distinct_2, self_bleu, length
using Values = std::map<std::string, double>;

class ModelMeter {
 public:
  // Samples the base once a measure. `folder` is the seed's: the files of the measures lie in it.
  static Result<ModelMeter> create(const Path& folder, const Path& base,
                                   const std::vector<StudyMeasure>& measures, uint64_t seed,
                                   std::stop_token stop);
  // `last`: the model is the end of its run, which every measure is of; others are of all checkpoints only
  // where they say so.
  Result<Values> measure(const Path& model, bool last, std::stop_token stop);

 private:
  ModelMeter() = default;
  Result<EvalReport> sample(const StudyMeasure& m, const Path& model, uint64_t seed,
                            std::stop_token stop) const;
  Status add_divergences(const StudyMeasure& m, const EvalReport& own, const EvalReport& base, Policy& model,
                         std::stop_token stop, Values& out);

  Path folder_;
  std::vector<StudyMeasure> measures_;
  uint64_t seed_ = 0;
  std::unique_ptr<Policy> base_;
  std::vector<EvalReport> base_reports_;  // parallel to measures_
};

}  // namespace fulcrum::cli
