#include "engine/pipeline/evaluate.h"

#include <string>
#include <utility>

#include "reward/answer_text.h"

namespace fulcrum {
namespace {

std::vector<RolloutRequest> requests_for(std::span<const Prompt> prompts, const EvalPlan& plan) {
  std::vector<RolloutRequest> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    requests.push_back({.seed = plan.seed,
                        .evaluation = true,
                        .step = plan.step,
                        .index = static_cast<int64_t>(i),
                        .prompt = prompts[i],
                        .num_generations = plan.num_generations,
                        .sampling = plan.sampling});
  }
  return requests;
}

// The scored completions of one prompt as votes. Correct ones vote together, however each writes the answer;
// the others by the answer's text, those without one together.
std::vector<Vote> votes_of(const RolloutGroup& group, const std::vector<Verdict>& verdicts,
                           const EvalPlan& plan) {
  std::vector<Vote> votes;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (!verdicts[i].score) continue;
    const bool right = *verdicts[i].score >= plan.correct_reward - 1e-9;
    const auto answer = [&] { return answer_text(plan.answer, group.completions[i].text).value_or(""); };
    votes.push_back({right ? "right" : "wrong: " + answer(), right});
  }
  return votes;
}

AtK at_k(const EvalReport& report, const std::vector<std::vector<Vote>>& votes, int64_t k, uint64_t seed) {
  std::vector<double> majority;
  for (const std::vector<Vote>& v : votes) {
    if (const auto m = maj_at_k(v, k)) majority.push_back(*m);
  }
  return {k, mean_pass_at_k(report.problems, k, seed), estimate_mean(majority, seed)};
}

}  // namespace

RewardConfig answer_of(const std::vector<RewardConfig>& rewards) {
  for (const RewardConfig& r : rewards) {
    if (r.name == "exact" || r.name == "numeric" || r.name == "math") return r;
  }
  return {.extract = "whole"};
}

Result<EvalReport> evaluate(RolloutClient& rollouts, RewardPool& rewards, std::span<const Prompt> prompts,
                            PolicyVersion version, const EvalPlan& plan, std::stop_token stop) {
  EvalReport report;
  TRY(groups, rollouts.generate(requests_for(prompts, plan), version, stop));
  TRY(verdicts, rewards.score(groups, stop));
  std::vector<std::vector<Vote>> votes;
  Metric reward, length;
  for (size_t g = 0; g < groups.size(); ++g) {
    votes.push_back(votes_of(groups[g], verdicts[g], plan));
    SolveCount count{.n = static_cast<int64_t>(votes.back().size()), .c = 0};
    for (const Vote& v : votes.back()) count.c += v.right ? 1 : 0;
    if (count.n > 0) report.problems.push_back(count);
    for (const Verdict& v : verdicts[g]) {
      if (v.score) reward = {reward.sum + *v.score, reward.count + 1};
    }
    for (const Completion& c : groups[g].completions)
      length = {length.sum + static_cast<double>(c.ids.size()), length.count + 1};
  }
  report.mean_reward = reward.mean();
  report.mean_length = length.mean();
  for (const int64_t k : plan.k) report.at_k.push_back(at_k(report, votes, k, plan.seed));
  report.groups = std::move(groups);
  report.verdicts = std::move(verdicts);
  return report;
}

Metrics EvalReport::metrics() const {
  Metrics out;
  add_metric(out, "eval_reward", mean_reward);
  add_metric(out, "eval_completions/mean_length", mean_length);
  for (const AtK& a : at_k) {
    if (a.pass) add_metric(out, "eval_pass@" + std::to_string(a.k), a.pass->mean);
    if (a.majority) add_metric(out, "eval_maj@" + std::to_string(a.k), a.majority->mean);
  }
  return out;
}

}  // namespace fulcrum
