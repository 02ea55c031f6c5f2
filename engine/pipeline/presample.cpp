// DPH-RL's data construction: k samples of the initial policy for each prompt, one fresh sample for those
// that reach the threshold (a known-correct one of the k would be a biased choice), and the learner's own
// log-probs of it.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/core/log.h"
#include "engine/data/pack.h"
#include "engine/pipeline/initial_samples.h"

namespace fulcrum {
namespace {

constexpr int64_t kPromptsAtATime = 64;

bool is_correct(const Verdict& v, double correct_reward) {
  return v.score && *v.score >= correct_reward - 1e-9;
}

PartitionRule rule_of(const PresampleConfig& c) {
  return {.k = c.k,
          .threshold = c.threshold,
          .drop_on_extra_fail = c.on_extra_fail == "drop",
          .drop_all_wrong = c.drop_all_wrong};
}

// A flag for each sample that could be judged.
std::vector<uint8_t> judged_correct(const std::vector<Verdict>& verdicts, double correct_reward) {
  std::vector<uint8_t> out;
  for (const Verdict& v : verdicts) {
    if (v.score) out.push_back(is_correct(v, correct_reward) ? 1 : 0);
  }
  return out;
}

// Log-probs of the stored samples by the learner's forward pass: a worker's could differ in the last digits
// and would show as a divergence at step 0.
Status add_logps(BuiltJob& job, std::vector<PresampledPrompt>& prompts) {
  BatchBuilder builder;
  for (const PresampledPrompt& p : prompts) {
    if (!p.mastered()) continue;
    builder.begin_group(job.train.row(p.row).prompt.ids);
    builder.add_row(p.ids, {.prompt_row = p.row});
  }
  const TrainBatch batch = builder.take();
  if (batch.num_targets() == 0) return ok_status();
  TRY(logps, job.learner->logps(batch, job.stop()));
  size_t next = 0;
  for (PresampledPrompt& p : prompts) {
    if (!p.mastered()) continue;
    p.logps.assign(logps.begin() + static_cast<int64_t>(next),
                   logps.begin() + static_cast<int64_t>(next + p.ids.size()));
    next += p.ids.size();
  }
  return ok_status();
}

Result<std::vector<PresampledPrompt>> sample_chunk(BuiltJob& job, const std::vector<int64_t>& rows) {
  const PartitionRule rule = rule_of(job.config.presample);
  TRY(drawn, draw_initial(job, rows, InitialStream::kPresample, rule.k));
  std::vector<PresampledPrompt> out;
  std::vector<int64_t> candidates;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<uint8_t> correct = judged_correct(drawn.verdicts[i], job.config.correct_from());
    PresampledPrompt p{.row = rows[i], .label = label_prompt(rule, correct, false), .ids = {}, .logps = {}};
    p.correct = std::count(correct.begin(), correct.end(), 1);
    if (is_candidate(rule, correct)) candidates.push_back(rows[i]);
    out.push_back(std::move(p));
  }
  if (candidates.empty()) return out;
  TRY(confirmed, draw_initial(job, candidates, InitialStream::kConfirm, 1));
  std::map<int64_t, size_t> at;
  for (size_t i = 0; i < rows.size(); ++i) at[rows[i]] = i;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Completion& fresh = confirmed.groups[i].completions.front();
    if (!is_correct(confirmed.verdicts[i].front(), job.config.correct_from()) ||
        fresh.finish == FinishReason::kLength || fresh.ids.empty())
      continue;
    PresampledPrompt& p = out[at[candidates[i]]];
    p.label = PromptLabel::kPef;
    p.ids = fresh.ids;
  }
  TRY_DO(add_logps(job, out));
  return out;
}

}  // namespace

Status presample(BuiltJob& job) {
  TRY(rehearsal, Rehearsal::open(job.journal->folder() / "presample.jsonl"));
  const int64_t total = job.train.size();
  int64_t next = static_cast<int64_t>(rehearsal.prompts().size());
  if (next > total)
    return data_loss("presample.jsonl has more prompts than the training data; delete it to sample again");
  if (next < total) {
    if (job.first_step > 0)
      return data_loss("presample.jsonl is incomplete, but training has begun: its samples are lost");
    // A portion that a kill or a full disk cut short is sampled again whole: the last bits of the learner's
    // log-probs depend on what they are computed together with.
    next -= next % kPromptsAtATime;
    TRY_DO(rehearsal.keep(next));
    TRY_DO(job.publish(0));
  }
  for (; next < total; next += kPromptsAtATime) {
    TRY_DO(job.control.point([] { return ok_status(); }));
    std::vector<int64_t> rows;
    for (int64_t r = next; r < std::min(next + kPromptsAtATime, total); ++r) rows.push_back(r);
    TRY(sampled, sample_chunk(job, rows));
    TRY_DO(rehearsal.append(sampled));
    TRY_DO(job.control.event(EventLevel::kInfo, "presample",
                             "presample: " + std::to_string(next + static_cast<int64_t>(rows.size())) +
                                 " of " + std::to_string(total) + " prompts"));
  }
  std::vector<int64_t> explore = rehearsal.exploration_rows();
  std::vector<PromptLabel> labels;
  for (const PresampledPrompt& p : rehearsal.prompts()) labels.push_back(p.label);
  const double share = pef_share(labels);
  log_info("presample: " + std::to_string(std::lround(100 * share)) + " % of " + std::to_string(total) +
           " prompts are near-perfect (D_pef), " + std::to_string(explore.size()) + " are explored (D_exp)");
  if (share == 0) log_warn("presample: D_pef is empty; the divergence term is 0 in every step");
  if (explore.empty()) {
    return failed_precondition(
        "the initial policy leaves no prompt to explore: raise 'presample.threshold', do not drop, or add "
        "harder prompts");
  }
  TRY_DO(job.train.keep_rows(std::move(explore)));
  job.rehearsal = std::move(rehearsal);
  return ok_status();
}

}  // namespace fulcrum
