#include "engine/pipeline/follow.h"

#include <memory>
#include <utility>

#include "engine/core/text.h"
#include "engine/learner/agreement.h"
#include "engine/learner/leading_learner.h"
#include "engine/pipeline/make_learner.h"
#include "policy/nn/torch_errors.h"

namespace fulcrum {
namespace {

// The job, or why this rank cannot have it; the others hear that where they make theirs.
struct Begun {
  JobConfig config;
  Model model;
};

Result<Begun> read_job(const Json& message) {
  TRY(config, parse_job(message.value("config", ""), {}));
  TRY(model, load_model(config.model_name_or_path));
  return Begun{std::move(config), std::move(model)};
}

Result<std::unique_ptr<Learner>> begin(const Json& message, const std::shared_ptr<Collective>& group) {
  Agreement ranks(group);
  ranks.begin();
  TRY(job, ranks.settle(catch_torch("cannot read the job", [&] { return read_job(message); })));
  TRY(made, make_job_learner(job.config, job.model, group));
  return std::move(made.learner);
}

Status carry_out(const Json& message, std::unique_ptr<Learner>& learner,
                 const std::shared_ptr<Collective>& group, const std::stop_token& stop) {
  const std::string name = message.value("do", "");
  if (name == command::kIdle) return ok_status();
  if (name == command::kForget) {
    learner.reset();
  } else if (name == command::kBegin) {
    // Why it cannot begin is rank 0's to say.
    if (auto begun = begin(message, group); begun.ok()) learner = std::move(begun).value();
  } else if (learner != nullptr) {
    TRY_DO(follow_command(*learner, *group, message, stop));
  } else {
    return internal_error("rank 0 says " + in_quotes(name) + ", but there is no job");
  }
  return group->status();
}

}  // namespace

Result<int> follow(const std::shared_ptr<Collective>& group, const std::stop_token& stop) {
  std::unique_ptr<Learner> learner;
  while (true) {
    TRY(message, hear_command(*group));
    if (message.value("do", "") == command::kEnd) return message.value("code", exit_code(Code::kInternal));
    if (message.value("do", "") == command::kIdle && stop.stop_requested()) {
      const Status stopped = cancelled("stopped by a signal");
      group->leave(stopped);
      return stopped;
    }
    TRY_DO(catch_torch("a command of rank 0", [&] { return carry_out(message, learner, group, stop); }));
  }
}

}  // namespace fulcrum
