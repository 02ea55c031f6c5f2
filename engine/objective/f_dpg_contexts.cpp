#include "engine/objective/f_dpg_contexts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace fulcrum {
namespace {

using generators::kInfinity;

struct Scored {
  SampleScores scores;
  bool in_base = true;
};

Status not_finite(const std::string& whose, const BatchRow& row) {
  return data_loss("the " + whose + " log-prob of a completion of prompt row " +
                   std::to_string(row.prompt_row) + " is not a finite number");
}

// The sums of a completion's log-probs; no value: the policy gives it probability 0. Sums of differences to
// the base model keep the digits that the difference of two long sums loses.
Result<std::optional<Scored>> sum_logps(const TrainBatch& batch, const BatchRow& row) {
  const std::vector<float>& proposal = batch.sampling_logps.empty() ? batch.old_logps : batch.sampling_logps;
  SampleScores to_base, alone;
  bool in_base = true;
  for (auto n = static_cast<size_t>(row.target_begin); n < static_cast<size_t>(row.target_end); ++n) {
    if (batch.target_mask[n] == 0) continue;
    const double pi = double(batch.old_logps[n]), q = double(proposal[n]);
    const double a = double(batch.reference_logps[n]);
    if (pi == -kInfinity) return std::optional<Scored>();
    if (!std::isfinite(pi)) return not_finite("policy's", row);
    if (!std::isfinite(q)) return not_finite("rollout's", row);
    if (std::isnan(a) || a == kInfinity) return not_finite("reference's", row);
    in_base = in_base && a != -kInfinity;
    to_base.log_policy += pi - a;
    to_base.log_proposal += q - a;
    alone.log_policy += pi;
    alone.log_proposal += q;
  }
  return std::optional(Scored{in_base ? to_base : alone, in_base});
}

Judgement judgement(const BatchRow& row) {
  return {row.has_reward ? std::optional(row.reward) : std::nullopt, row.parts};
}

Result<std::optional<Scored>> score_row(const TrainBatch& batch, const BatchRow& row,
                                        const EnergyTarget& target, const std::vector<double>& lambda) {
  Result<std::optional<double>> score = target.score(judgement(row), lambda);
  if (!score.ok())
    return score.status().with_context("a completion of prompt row " + std::to_string(row.prompt_row));
  if (!*score) return std::optional<Scored>();
  TRY(out, sum_logps(batch, row));
  if (out) out->scores.log_target = out->in_base ? **score : -kInfinity;
  return out;
}

}  // namespace

Result<std::vector<Context>> collect_contexts(TrainBatch& batch, const EnergyTarget& target,
                                              const std::vector<double>& lambda) {
  std::map<int64_t, Context> by_group;
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    const BatchRow& row = batch.rows[r];
    if (row.rehearsal)
      return internal_error("trainer f_dpg was given rehearsal rows: only dph_rl trains on them");
    TRY(scored, score_row(batch, row, target, lambda));
    if (!scored) {
      std::fill(batch.target_mask.begin() + row.target_begin, batch.target_mask.begin() + row.target_end, 0);
      continue;
    }
    Context& context = by_group[row.group];
    context.prompt_row = row.prompt_row;
    context.rows.push_back(r);
    context.samples.push_back(scored->scores);
    context.in_base.push_back(scored->in_base);
    context.log_weights.push_back(scored->scores.log_weight());
  }
  std::vector<Context> out;
  for (auto& [group, context] : by_group) out.push_back(std::move(context));
  return out;
}

int64_t count_contexts(const TrainBatch& batch, const EnergyTarget& target) {
  std::set<int64_t> groups;
  for (const BatchRow& row : batch.rows) {
    const auto begin = batch.target_mask.begin() + row.target_begin;
    const auto end = batch.target_mask.begin() + row.target_end;
    // An empty completion has no target to be masked by.
    const bool kept = begin == end ? target.knows(judgement(row)) : std::find(begin, end, 1) != end;
    if (kept) groups.insert(row.group);
  }
  return std::ssize(groups);
}

}  // namespace fulcrum
