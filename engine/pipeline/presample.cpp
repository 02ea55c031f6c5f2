// DPH-RL's data construction: k samples of the initial policy for each prompt, one fresh sample for those
// that reach the threshold (a known-correct one of the k would be a biased choice), and the learner's own
// log-probs of it.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/core/hash.h"
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

using FreshSamples = std::map<size_t, std::vector<TokenId>>;  // by place among the rows

// One more sample of each candidate; those that are correct and have an end.
Result<FreshSamples> confirm(BuiltJob& job, const std::vector<int64_t>& rows,
                             const std::vector<size_t>& candidates) {
  FreshSamples out;
  if (candidates.empty()) return out;
  std::vector<int64_t> asked;
  for (const size_t i : candidates) asked.push_back(rows[i]);
  TRY(drawn, draw_initial(job, asked, InitialStream::kConfirm, 1));
  for (size_t c = 0; c < candidates.size(); ++c) {
    const Completion& fresh = drawn.groups[c].completions.front();
    if (is_correct(drawn.verdicts[c].front(), job.config.correct_from()) &&
        fresh.finish != FinishReason::kLength && !fresh.ids.empty())
      out[candidates[c]] = fresh.ids;
  }
  return out;
}

Result<std::vector<PresampledPrompt>> sample_chunk(BuiltJob& job, const std::vector<int64_t>& rows) {
  const PartitionRule rule = rule_of(job.config.presample);
  TRY(drawn, draw_initial(job, rows, InitialStream::kPresample, rule.k));
  std::vector<std::vector<uint8_t>> correct;
  std::vector<size_t> candidates;
  for (size_t i = 0; i < rows.size(); ++i) {
    correct.push_back(judged_correct(drawn.verdicts[i], job.config.correct_from()));
    if (is_candidate(rule, correct[i])) candidates.push_back(i);
  }
  TRY(confirmed, confirm(job, rows, candidates));
  std::vector<PresampledPrompt> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto fresh = confirmed.find(i);
    const bool found = fresh != confirmed.end();
    out.push_back({.row = rows[i],
                   .correct = std::count(correct[i].begin(), correct[i].end(), 1),
                   .label = label_prompt(rule, correct[i], found),
                   .ids = found ? fresh->second : std::vector<TokenId>(),
                   .logps = {}});
  }
  TRY_DO(add_logps(job, out));
  return out;
}

// Everything that decides the samples, their labels and their log-probs: names for Rehearsal::open.
Result<Json> made_with(const BuiltJob& job) {
  const Json keys = write_config(job.config);
  Json out = Json::object();
  for (const char* key : {"seed", "temperature", "top_p", "top_k", "min_p", "max_completion_length", "stop",
                          "reward_funcs", "correct_reward", "dtype", "rollout_dtype"})
    out[key] = keys.at(key);
  for (const char* key : {"k", "threshold", "on_extra_fail", "drop_all_wrong"})
    out[std::string("presample.") + key] = keys.at("presample").at(key);
  TRY(model, load_model(job.config.model_name_or_path));
  out["model"] = content_hash(model.tensors);
  out["tokenizer"] = job.tokenizer->content_hash();
  Sha256 data;
  for (int64_t i = 0; i < job.train.size(); ++i) {
    const Prompt& prompt = job.train.row(i).prompt;
    data.update(dump_json({{"ids", prompt.ids}, {"columns", prompt.columns}}) + "\n");
  }
  out["data"] = data.hex();
  return out;
}

}  // namespace

Status presample(BuiltJob& job) {
  TRY(made, made_with(job));
  TRY(rehearsal, Rehearsal::open(job.journal->folder() / "presample.jsonl", made));
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
  if (share == 0) {
    log_warn(
        "presample: D_pef is empty; the divergence term is 0 in every step. (A prompt belongs there if its "
        "fresh draw is right and ends before max_completion_length.)");
  }
  if (explore.empty()) {
    return invalid_argument(
        "the initial policy leaves no prompt to explore: raise 'presample.threshold', do not drop, or add "
        "harder prompts");
  }
  TRY_DO(job.train.keep_rows(std::move(explore)));
  job.rehearsal = std::move(rehearsal);
  return ok_status();
}

}  // namespace fulcrum
