#include "engine/cli/engine/study/model_meter.h"

#include <algorithm>
#include <numeric>

#include "engine/cli/engine/measure.h"
#include "engine/data/pack.h"
#include "engine/pipeline/config/job_config.h"
#include "reward/diversity.h"

namespace fulcrum::cli {
namespace {

constexpr int64_t kMaxTokens = 16384, kChunk = 1024;
constexpr size_t kTextsForBleu = 1000;
// The base is sampled with a seed of its own, so that its own row in the table (keep_rate, say) shows what
// chance does.
constexpr uint64_t kBaseSeed = 1000003;

Result<std::unique_ptr<Policy>> load_policy(const Path& path) {
  TRY(model, load_model(path));
  return Policy::create(model, {});
}

// Mean over the report's texts of sum_t (log own - log other), from the samples of the one whose texts they
// are.
Result<double> mean_log_ratio(const EvalReport& report, Policy& other, double temperature,
                              std::stop_token stop) {
  BatchBuilder builder;
  double own = 0;
  int64_t texts = 0;
  for (const RolloutGroup& group : report.groups) {
    builder.begin_group(group.prompt.ids);
    for (const Completion& c : group.completions) {
      builder.add_row(c.ids, {.prompt_row = group.prompt.row});
      for (const float logp : c.logps) own += static_cast<double>(logp);
      ++texts;
    }
  }
  TRY(logps, batch_logps(other, builder.take(), temperature, kMaxTokens, kChunk, stop));
  const double theirs = std::accumulate(logps.begin(), logps.end(), 0.0);
  return texts == 0 ? 0.0 : (own - theirs) / static_cast<double>(texts);
}

void add_rewards(const EvalReport& report, Values& out) {
  out["reward"] = report.mean_reward;
  out["length"] = report.mean_length;
  std::map<std::string, Metric> parts;
  for (const auto& group : report.verdicts) {
    for (const Verdict& v : group) {
      for (const auto& [name, score] : v.parts) add_metric(parts, name, score);
    }
  }
  for (const auto& [name, m] : parts) out["reward/" + name] = m.mean();
  for (const AtK& a : report.at_k) {
    if (a.pass) out["pass@" + std::to_string(a.k)] = a.pass->mean;
    if (a.majority) out["maj@" + std::to_string(a.k)] = a.majority->mean;
  }
}

void add_retention(const EvalReport& base, const EvalReport& own, Values& out) {
  if (base.problems.size() != own.problems.size())
    return;  // a problem no judge could score has no before and after
  const Retention r = retention(base.problems, own.problems);
  if (r.keep_rate) out["keep_rate"] = *r.keep_rate;
  if (r.new_solve_rate) out["new_solve_rate"] = *r.new_solve_rate;
}

void add_variety(const EvalReport& report, Values& out) {
  std::vector<std::string> texts;
  double surprise = 0, tokens = 0;
  for (const RolloutGroup& group : report.groups) {
    for (const Completion& c : group.completions) {
      texts.push_back(c.text);
      for (const float logp : c.logps) surprise -= static_cast<double>(logp);
      tokens += static_cast<double>(c.ids.size());
    }
  }
  if (tokens > 0) out["entropy"] = surprise / tokens;
  if (texts.size() > kTextsForBleu) texts.resize(kTextsForBleu);
  if (const auto d = distinct_n(texts, 1)) out["distinct_1"] = *d;
  if (const auto d = distinct_n(texts, 2)) out["distinct_2"] = *d;
  if (const auto b = self_bleu(texts)) out["self_bleu"] = *b;
}

// As a job with these judges has it.
double correct_from(const StudyMeasure& m) {
  JobConfig job;
  job.reward_funcs = m.reward_funcs;
  job.correct_reward = m.correct_reward;
  return job.correct_from();
}

}  // namespace

Result<EvalReport> ModelMeter::sample(const StudyMeasure& m, const Path& model, uint64_t seed,
                                      std::stop_token stop) const {
  MeasureOptions options{.model = model.string(),
                         .files = {},
                         .rewards = m.reward_funcs,
                         .correct_reward = correct_from(m),
                         .num_generations = m.num_generations,
                         .k = m.k,
                         .seed = seed};
  for (const std::string& file : m.files) options.files.push_back((folder_ / file).string());
  options.sampling.temperature = m.temperature;
  options.sampling.max_completion_length = m.max_completion_length;
  return fulcrum::cli::measure(options, stop);
}

Result<ModelMeter> ModelMeter::create(const Path& folder, const Path& base,
                                      const std::vector<StudyMeasure>& measures, uint64_t seed,
                                      std::stop_token stop) {
  ModelMeter meter;
  meter.folder_ = folder;
  meter.measures_ = measures;
  meter.seed_ = seed;
  TRY(policy, load_policy(base));
  meter.base_ = std::move(policy);
  for (const StudyMeasure& m : measures) {
    TRY(report, meter.sample(m, base, seed + kBaseSeed, stop));
    meter.base_reports_.push_back(std::move(report));
  }
  return meter;
}

Status ModelMeter::add_divergences(const StudyMeasure& m, const EvalReport& own, const EvalReport& base,
                                   Policy& model, std::stop_token stop, Values& out) {
  TRY(kl, mean_log_ratio(own, *base_, m.temperature, stop));
  TRY(reverse, mean_log_ratio(base, model, m.temperature, stop));
  out["kl"] = kl;
  out["kl_reverse"] = reverse;
  return ok_status();
}

Result<Values> ModelMeter::measure(const Path& model, bool last, std::stop_token stop) {
  TRY(policy, load_policy(model));
  Values out;
  for (size_t i = 0; i < measures_.size(); ++i) {
    const StudyMeasure& m = measures_[i];
    if (!last && !m.all_checkpoints) continue;
    TRY(report, sample(m, model, seed_, stop));
    Values values;
    add_rewards(report, values);
    add_retention(base_reports_[i], report, values);
    add_variety(report, values);
    TRY_DO(add_divergences(m, report, base_reports_[i], *policy, stop, values));
    for (const auto& [name, value] : values) out[m.label.empty() ? name : m.label + "/" + name] = value;
  }
  return out;
}

}  // namespace fulcrum::cli
