// f-DPG's stage before training: the lambda of its distributional constraints, fitted to samples of the
// initial policy (one lambda for all prompts, their samples pooled). Recorded as target.json in the run
// folder. The samples are a function of the seed, so a stage that was interrupted is simply done again and
// finds the same numbers.
#include <cmath>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/objective/f_dpg_target.h"
#include "engine/objective/max_entropy.h"
#include "engine/pipeline/initial_samples.h"

namespace fulcrum {
namespace {

constexpr int64_t kPromptsAtATime = 64;

// Which prompts are continued, and how often each.
struct Draws {
  std::vector<int64_t> rows;
  int64_t each = 1;
};

// As many prompts as there are, spread evenly over the data where there are more than samples are wanted for.
Draws plan(const BuiltJob& job) {
  const int64_t wanted = job.config.objective.f_dpg.fit_samples, size = job.train.size();
  Draws out{.rows = {}, .each = std::max(job.config.sampling.num_generations, (wanted + size - 1) / size)};
  const int64_t prompts = std::min(size, (wanted + out.each - 1) / out.each);
  for (int64_t i = 0; i < prompts; ++i) out.rows.push_back(i * size / prompts);
  return out;
}

// Completions without a verdict are left out and counted.
Status add_samples(const EnergyTarget& target, const JudgedStep& drawn, MomentProblem& problem,
                   int64_t& dropped) {
  for (const auto& group : drawn.verdicts) {
    for (const Verdict& verdict : group) {
      const Judgement judged{verdict.score, verdict.parts};
      TRY(log_b, target.log_filter(judged));
      const std::optional<std::vector<double>> phi = target.tilted_features(judged);
      if (log_b && phi) {
        problem.log_weights_N.push_back(*log_b);  // drawn from the base model itself: log a - log q is 0
        problem.features_NK.push_back(*phi);
      } else {
        ++dropped;
      }
    }
  }
  return ok_status();
}

Json record(const MomentProblem& problem, const MomentFit& fit, int64_t dropped) {
  return {{"features", problem.names_K},
          {"target_moments", problem.targets_K},
          {"lambda", fit.lambda_K},
          {"moments_before", fit.moments_before_K},
          {"moments_after", fit.moments_after_K},
          {"log_z", fit.log_z},
          {"ess", fit.ess},
          {"samples", problem.features_NK.size()},
          {"dropped", dropped},
          {"iterations", fit.iterations}};
}

MomentProblem empty_problem(const EnergyTarget& target) {
  MomentProblem out;
  for (const ConstraintConfig& c : target.tilted()) {
    out.names_K.push_back(c.feature);
    out.targets_K.push_back(c.moment);
  }
  return out;
}

Result<Json> fit(BuiltJob& job, const EnergyTarget& target) {
  MomentProblem problem = empty_problem(target);
  const Draws draws = plan(job);
  int64_t dropped = 0;
  TRY_DO(job.publish(0));
  for (size_t next = 0; next < draws.rows.size(); next += kPromptsAtATime) {
    TRY_DO(job.control.point([] { return ok_status(); }));
    const auto begin = draws.rows.begin() + static_cast<std::ptrdiff_t>(next);
    const auto count = std::min<std::ptrdiff_t>(kPromptsAtATime, draws.rows.end() - begin);
    TRY(drawn, draw_initial(job, {begin, begin + count}, InitialStream::kFitTarget, draws.each));
    TRY_DO(add_samples(target, drawn, problem, dropped));
    TRY_DO(job.control.event(EventLevel::kInfo, "fit_target",
                             "fit_target: " + std::to_string(problem.features_NK.size()) + " samples"));
  }
  const FitOptions options{.learning_rate = job.config.objective.f_dpg.fit_learning_rate};
  TRY(fitted, fit_moments(problem, options));
  for (size_t k = 0; k < problem.names_K.size(); ++k) {
    log_info("fit_target: " + in_quotes(problem.names_K[k]) + " has moment " +
             std::to_string(fitted.moments_before_K[k]) + " under the initial policy, " +
             std::to_string(fitted.moments_after_K[k]) + " under the target (lambda " +
             std::to_string(fitted.lambda_K[k]) + ")");
  }
  return record(problem, fitted, dropped);
}

// The lambda of a recorded fit. kDataLoss if it is not one of this target.
Result<std::vector<double>> lambda_of(const Path& file, const EnergyTarget& target) {
  TRY(text, read_file(file));
  const Result<Json> json = parse_json(text);
  std::vector<double> lambda;
  bool fine = json.ok() && json->is_object() &&
              json->value("features", Json()) == empty_problem(target).names_K &&
              json->value("lambda", Json()).is_array();
  if (fine) {
    for (const Json& x : (*json)["lambda"]) {
      fine = fine && x.is_number();
      if (fine) lambda.push_back(x.get<double>());
    }
  }
  if (!fine || lambda.size() != target.tilted().size()) {
    return data_loss(
        in_quotes(file.string()) +
        " is not the fit of this job's constraints; delete it to fit again (before the first step)");
  }
  return lambda;
}

}  // namespace

Status fit_target(BuiltJob& job) {
  const EnergyTarget target(job.config.objective.f_dpg, job.config.objective.beta);
  if (target.tilted().empty()) return ok_status();
  const Path file = job.journal->folder() / "target.json";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    if (job.first_step > 0)
      return data_loss("target.json is missing, but training has begun: its lambda is lost");
    TRY(recorded, fit(job, target));
    TRY_DO(write_file_atomic(file, dump_json(recorded, 1) + "\n"));
  }
  TRY(lambda, lambda_of(file, target));
  job.learner->put_objective_values(kFDpgLambda, std::move(lambda));
  return ok_status();
}

}  // namespace fulcrum
