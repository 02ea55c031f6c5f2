#include "engine/pipeline/judged_step.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/stopwatch.h"
#include "engine/core/text.h"
#include "engine/pipeline/dynamic_sampling.h"

namespace fulcrum {
namespace {

// Where the data order of the further batches begins, counted in steps: far beyond any step, so that each
// step's first batch is the same with dynamic sampling and without.
constexpr int64_t kFurtherBatches = int64_t{1} << 40;

struct Unscored {
  int64_t count = 0, of = 0;
  std::string reason;  // of the first one

  std::string text() const {
    return std::to_string(count) + " of the step's " + std::to_string(of) +
           " completions have no score (max_unscored_share); the first one " + printable(reason);
  }
};

Unscored unscored_in(const std::vector<std::vector<Verdict>>& verdicts) {
  Unscored out;
  for (const auto& group : verdicts) {
    for (const Verdict& v : group) {
      ++out.of;
      if (v.score) continue;
      if (out.count++ == 0) out.reason = std::string(verdict_name(v.kind)) + ": " + v.reason;
    }
  }
  return out;
}

// A judge that is down must not pass for a policy that has nothing to learn. kResourceExhausted: a learner
// pauses the job, which goes on when the judge is back.
Status check_scored(const std::vector<std::vector<Verdict>>& verdicts, double allowed) {
  const Unscored unscored = unscored_in(verdicts);
  if (static_cast<double>(unscored.count) <= allowed * static_cast<double>(unscored.of)) return ok_status();
  return resource_exhausted(unscored.text() +
                            "; mend the judge, then run the job again (under a learner: fulcrum job resume)");
}

// One batch of prompts more. Its requests go on counting, so that every completion has noise of its own.
Status draw(BuiltJob& job, int64_t step, int64_t version, const std::stop_token& stop, JudgedStep& into) {
  const int64_t wanted = job.config.data.prompts_per_step, batch = into.gen_batches++;
  const int64_t place = batch == 0 ? step : kFurtherBatches + step * job.config.max_num_gen_batches + batch;
  std::vector<RolloutRequest> requests;
  for (const DataRow* row : job.train.step_rows(place, wanted)) {
    requests.push_back(job.request(row->prompt, step, batch * wanted + std::ssize(requests)));
  }
  Stopwatch watch;
  TRY(groups, job.backend.rollouts->generate(requests, job.version(version), stop));
  into.generate_seconds += watch.lap();
  TRY(verdicts, job.rewards->score(groups, stop));
  TRY_DO(check_scored(verdicts, job.config.max_unscored_share));
  into.judge_seconds += watch.lap();
  into.drawn_groups += std::ssize(groups);
  for (const RolloutGroup& g : groups) {
    for (const Completion& c : g.completions) into.generated_tokens += std::ssize(c.ids);
  }
  std::move(groups.begin(), groups.end(), std::back_inserter(into.groups));
  std::move(verdicts.begin(), verdicts.end(), std::back_inserter(into.verdicts));
  return ok_status();
}

// Drops the groups that teach nothing; true once as many are left as the step wants, cut to that number. The
// metric is what the judges said, without any shaping of the trainer's: a length penalty would make an
// all-wrong group look varied.
bool keep_varied(const JobConfig& config, JudgedStep& made) {
  std::vector<double> metric;
  std::vector<int64_t> group;
  for (size_t g = 0; g < made.verdicts.size(); ++g) {
    for (const Verdict& v : made.verdicts[g]) {
      if (!v.score) continue;
      const bool correct = *v.score >= config.correct_from() - 1e-9;
      metric.push_back(config.dynamic_sampling == "correct" ? (correct ? 1 : 0) : *v.score);
      group.push_back(static_cast<int64_t>(g));
    }
  }
  const int64_t wanted = config.data.prompts_per_step;
  const SampledGroups kept = dynamic_sampling({}, metric, group, config.sampling.num_generations, wanted);
  std::vector<RolloutGroup> groups;
  std::vector<std::vector<Verdict>> verdicts;
  for (const int64_t g : kept.groups) {
    if (std::ssize(groups) == wanted) break;
    groups.push_back(std::move(made.groups[static_cast<size_t>(g)]));
    verdicts.push_back(std::move(made.verdicts[static_cast<size_t>(g)]));
  }
  made.groups = std::move(groups);
  made.verdicts = std::move(verdicts);
  return kept.enough;
}

}  // namespace

void warn_unscored(int64_t step, const JudgedStep& made, bool& said) {
  const Unscored unscored = unscored_in(made.verdicts);
  if (unscored.count > 0 && !said) log_warn("step " + std::to_string(step) + ": " + unscored.text());
  said = unscored.count > 0;
}

Result<JudgedStep> make_step(BuiltJob& job, int64_t step, int64_t version, std::stop_token stop) {
  JudgedStep out;
  TRY_DO(draw(job, step, version, stop, out));
  if (job.config.dynamic_sampling == "off") return out;
  while (!keep_varied(job.config, out)) {
    if (out.gen_batches == job.config.max_num_gen_batches) {
      return failed_precondition(
          "dynamic sampling: of " + std::to_string(out.drawn_groups) + " prompts in " +
          std::to_string(out.gen_batches) + " batches (max_num_gen_batches) only " +
          std::to_string(out.groups.size()) + " had completions that differ in '" +
          job.config.dynamic_sampling + "', " + std::to_string(job.config.data.prompts_per_step) +
          " are needed: the prompts are too easy or too hard, or no reward reaches 'correct_reward'");
    }
    TRY_DO(draw(job, step, version, stop, out));
  }
  return out;
}

}  // namespace fulcrum
