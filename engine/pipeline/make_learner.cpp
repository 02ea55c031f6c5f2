#include "engine/pipeline/make_learner.h"

#include <utility>

#include "engine/learner/agreement.h"
#include "engine/objective/objective.h"
#include "engine/reference/reference.h"

namespace fulcrum {
namespace {

// What the objective compares with; null if with nothing.
Result<std::unique_ptr<Reference>> make_job_reference(JobLearner& out, const JobConfig& config,
                                                      const Needs& needs, const Model& model) {
  if (!needs.reference_logps && !needs.divergence) return std::unique_ptr<Reference>();
  if (config.reference.precompute_ref_log_probs) {
    TRY(hash, reference_content_hash(config.reference, model));
    auto cached = std::make_unique<CachedReference>(hash, !config.reference.ref_soup.empty());
    out.cached_reference = cached.get();
    return std::unique_ptr<Reference>(std::move(cached));
  }
  TRY(how, policy_options(config.learner));
  return make_reference(config.reference, model, how);
}

Result<JobLearner> make_alone(const JobConfig& config, const Model& model,
                              const std::shared_ptr<Collective>& group) {
  JobLearner out;
  TRY(objective, make_objective(config.objective));
  TRY(reference, make_job_reference(out, config, objective->needs(), model));
  const LearnerOptions options{.config = config.learner,
                               .max_steps = config.max_steps,
                               .num_iterations = config.objective.num_iterations,
                               .num_mini_batches = config.objective.num_mini_batches,
                               .temperature = config.online() ? config.sampling.temperature : 1.0,
                               .seed = static_cast<uint64_t>(config.seed),
                               .group = group};
  const Model start = objective->needs().scores ? as_score_model(model) : model;
  TRY(learner, Learner::create(start, options, std::move(objective), std::move(reference)));
  out.learner = std::move(learner);
  return out;
}

// The weights a learner starts from: all of them, the critic's too.
Json fingerprint(const Learner& learner) {
  const Reference* reference = learner.reference();
  return {{"model", content_hash(learner.save().tensors)},
          {"reference", reference != nullptr ? reference->content_hash() : ""}};
}

Status check_same(const std::vector<Json>& fingerprints) {
  for (size_t r = 1; r < fingerprints.size(); ++r) {
    for (const char* what : {"model", "reference"}) {
      if (fingerprints[r].value(what, "") == fingerprints[0].value(what, "")) continue;
      return failed_precondition("rank " + std::to_string(r) + " has another " + what +
                                 " than rank 0 at the path that the job names: copy the same files to every "
                                 "machine");
    }
  }
  return ok_status();
}

}  // namespace

Result<JobLearner> make_job_learner(const JobConfig& config, const Model& model,
                                    const std::shared_ptr<Collective>& group) {
  if (group == nullptr) return make_alone(config, model, group);
  Agreement ranks(group);
  ranks.begin();
  TRY(made, ranks.settle(make_alone(config, model, group)));
  TRY(fingerprints, ranks.exchange(fingerprint(*made.learner), "the making of the learner"));
  TRY_DO(check_same(fingerprints));
  return made;
}

}  // namespace fulcrum
