// The operations of policy_gradient.json on token losses: surrogates, averaging, and the corrections for
// samples of another policy.
#include <algorithm>
#include <map>

#include "engine/objective/aggregate.h"
#include "engine/objective/masked.h"
#include "engine/objective/rollout_correction.h"
#include "engine/objective/surrogate.h"
#include "tests/replay/masked_step.h"

namespace fulcrum::replay {
namespace {

// No bound unless the case has it.
ClipRange clip_range(const Json& in) {
  return {.low = number(in.at("eps_low")),
          .high = number(in.at("eps_high")),
          .delta = number_if_given(in, "delta"),
          .dual = number_if_given(in, "dual_clip"),
          .log_ratio_bound = number_if_given(in, "ratio_clamp")};
}

at::Tensor mean(const MaskedStep& step, const at::Tensor& loss_N, const std::string& mode,
                int64_t constant = 1) {
  const Aggregation how = *parse_aggregation_mode(mode);
  const double denominator = step_denominator(how, step.batch(), false, constant);
  return aggregate(how, step.input(), loss_N, step.mask_N(), false, denominator);
}

int64_t constant_of(const Json& in) { return static_cast<int64_t>(number_or(in, "const", 1)); }

Json flags(const MaskedStep& step, const at::Tensor& kept_N) {
  Json out = Json::array();
  for (const std::vector<double>& row : step.rows(kept_N))
    out.push_back(std::vector<int>(row.begin(), row.end()));
  return out;
}

Json branches(const MaskedStep& step, const TokenSurrogate& token) {
  const Matrix clipped = step.rows(token.clipped_N), dual = step.rows(token.dual_N);
  const Matrix mask = step.rows(step.mask_N());
  Json out = Json::array();
  for (size_t r = 0; r < mask.size(); ++r) {
    Json row = Json::array();
    for (size_t t = 0; t < mask[r].size(); ++t)
      row.push_back(mask[r][t] == 0      ? "masked"
                    : dual[r][t] != 0    ? "dual"
                    : clipped[r][t] != 0 ? "clip"
                                         : "ratio");
    out.push_back(row);
  }
  return out;
}

void ppo_loss(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const at::Tensor logp = step.leaf(in.at("logp"));
  const TokenSurrogate token =
      clipped_surrogate(logp - step.targets(in.at("old_logp")), step.targets(in.at("adv")), clip_range(in));
  const at::Tensor loss = mean(step, token.loss_N, in.at("agg").get<std::string>(), constant_of(in));
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  compare(tally, step.rows(token.loss_N), want.at("token_loss"), precision, "token_loss");
  compare(tally, step.rows(token.ratio_N), want.at("ratio"), precision, "ratio");
  tally.equal(branches(step, token), want.at("branch"), "branch");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp"), precision, "grad_logp");
}

void agg(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  for (const Json& mode : in.at("modes")) {
    const auto name = mode.get<std::string>();
    const at::Tensor value = mean(step, step.targets(in.at("mat")), name, constant_of(in));
    compare(tally, value.item<double>(), want.at(name), precision, name);
  }
}

void agg_micro(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const Json &mat = in.at("mat"), &mask = in.at("mask");
  const MaskedStep whole(mask, precision);
  const double tokens = step_denominator(Aggregation::kDapo, whole.batch(), false, 1);
  const auto micro = in.at("micro").get<size_t>();
  std::vector<double> means;
  double sum = 0, parts = 0;
  for (size_t begin = 0; begin < mat.size(); begin += micro) {
    const auto slice = [&](const Json& rows) {
      const auto end = std::min(begin + micro, rows.size());
      return Json(rows.begin() + static_cast<int64_t>(begin), rows.begin() + static_cast<int64_t>(end));
    };
    const MaskedStep step(slice(mask), precision);
    const at::Tensor losses = step.targets(slice(mat));
    const auto value = [&](Aggregation how, double denominator) {
      return aggregate(how, step.input(), losses, step.mask_N(), false, denominator).item<double>();
    };
    means.push_back(value(Aggregation::kMicroBatchMean, 1));
    parts += value(Aggregation::kDapo, tokens);
  }
  // Each micro-batch as one of so many, as the objective's denominator has it.
  for (const double m : means) sum += m / static_cast<double>(means.size());
  compare(tally, mean(whole, whole.targets(mat), "token_mean").item<double>(), want.at("global_token_mean"),
          precision, "global_token_mean");
  compare(tally, means, want.at("microbatch_means"), precision, "microbatch_means");
  compare(tally, sum, want.at("mean_of_microbatch_means"), precision, "mean_of_microbatch_means");
  compare(tally, parts, want.at("sum_over_microbatches_with_global_count"), precision,
          "sum_over_microbatches_with_global_count");
}

void gspo(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const at::Tensor logp = step.leaf(in.at("logp"));
  const at::Tensor log_ratio = log_ratio_at(RatioLevel::kSequenceMean, step.input(),
                                            logp - step.targets(in.at("old_logp")), step.mask_N());
  const TokenSurrogate token = clipped_surrogate(log_ratio, step.spread(in.at("adv")), clip_range(in));
  const at::Tensor loss = mean(step, token.loss_N, "seq_mean_token_mean");
  compare(tally, doubles(row_means(step.input(), token.ratio_N, step.mask_N())), want.at("seq_ratio"),
          precision, "seq_ratio");
  compare(tally, doubles(row_means(step.input(), token.loss_N, step.mask_N())), want.at("seq_loss"),
          precision, "seq_loss");
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp"), precision, "grad_logp");
}

void cispo(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const at::Tensor logp = step.leaf(in.at("logp"));
  RatioRange range{.high = number(in.at("ratio_max"))};
  if (const auto below = number_if_given(in, "eps_low")) range.low = 1 - *below;
  const TokenSurrogate token =
      cispo_surrogate(logp, logp - step.targets(in.at("old_logp")), step.targets(in.at("adv")), range);
  const at::Tensor loss = mean(step, token.loss_N, "token_mean");
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp"), precision, "grad_logp");
}

void dppo_tv(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const at::Tensor logp = step.leaf(in.at("logp"));
  const TokenSurrogate token =
      dppo_surrogate(logp, step.targets(in.at("old_logp")), step.targets(in.at("adv")),
                     {.low = number(in.at("delta_low")),
                      .high = number(in.at("delta_high")),
                      .ratio_max = number(in.at("ratio_max"))});
  const at::Tensor loss = mean(step, token.loss_N, "token_mean");
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  tally.equal(flags(step, ~token.clipped_N), want.at("keep"), "keep");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp"), precision, "grad_logp");
}

// The file's seq_ and geo_ are sequence_ and geometric_ in the config.
CorrectionMode correction_mode(std::string name) {
  if (name.starts_with("seq_")) name = "sequence_" + name.substr(4);
  if (name.starts_with("geo_")) name = "geometric_" + name.substr(4);
  return *parse_correction_mode(name);
}

void rollout_is(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const LogWeights logs =
      log_rollout_weights(step.targets(in.at("learner_logp")), step.targets(in.at("rollout_logp")));
  at::Tensor weight = rollout_weights({.mode = correction_mode(in.at("mode").get<std::string>()),
                                       .cap = number(in.at("c_max")),
                                       .floor = number_if_given(in, "c_min"),
                                       .log_bound = number_if_given(in, "safety_bound")},
                                      step.input(), logs.log_weight_N, step.mask_N());
  if (flag_or(in, "batch_normalize", false)) {
    const double divisor = mean_weight(weight, step.mask_N());
    weight = weight / divisor;
    compare(tally, divisor, want.at("batch_mean"), precision, "batch_mean");
  }
  compare(tally, step.rows(weight), want.at("weight"), precision, "weight");
}

// Decoupled PPO is the rollout correction over the surrogate that is anchored at the proximal policy.
void decoupled(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const bool masks = in.at("action") == "mask";
  const at::Tensor logp = step.leaf(in.at("logp")), proximal = step.targets(in.at("prox_logp"));
  const at::Tensor weight = rollout_weights(
      {.mode = masks ? CorrectionMode::kTokenMask : CorrectionMode::kTokenTruncate,
       .cap = number(in.at("upper")),
       .log_bound = std::nullopt},
      step.input(), log_rollout_weights(proximal, step.targets(in.at("behave_logp"))).log_weight_N,
      step.mask_N());
  const TokenSurrogate token = clipped_surrogate(logp - proximal, step.spread(in.at("adv")), clip_range(in));
  const at::Tensor kept = step.mask_N() & (weight != 0);
  const at::Tensor counted = in.at("denominator") == "kept" ? kept : step.mask_N();
  const at::Tensor loss = aggregate(Aggregation::kDapo, step.input(), token.loss_N * weight, counted, false,
                                    std::max(counted.sum().item<double>(), 1.0));
  compare(tally, loss.item<double>(), want.at("loss"), precision, "loss");
  compare(tally, step.rows(weight), want.at("behave_weight"), precision, "behave_weight");
  tally.equal(flags(step, kept), want.at("kept_mask"), "kept_mask");
  compare(tally, step.gradient(loss, logp), want.at("grad_logp"), precision, "grad_logp");
}

void offpolicy_mask(const Json& in, const Json& want, Precision precision, Tally& tally) {
  const MaskedStep step(in.at("mask"), precision);
  const at::Tensor moved =
      -log_rollout_weights(step.targets(in.at("logp")), step.targets(in.at("sampling_logp"))).log_weight_N;
  const at::Tensor mean_R = row_means(step.input(), moved, step.mask_N());
  const at::Tensor kept_R =
      off_policy_keep(at::tensor(numbers(in.at("adv")), at::kDouble), mean_R, number(in.at("threshold")));
  compare(tally, doubles(mean_R), want.at("mean_log_ratio"), precision, "mean_log_ratio");
  const std::vector<double> kept = doubles(kept_R);
  tally.equal(std::vector<int>(kept.begin(), kept.end()), want.at("keep"), "keep");
}

}  // namespace

void add_surrogate_ops(Ops& ops) {
  ops.add("ppo_loss", in_both(ppo_loss));
  ops.add("agg", in_both(agg));
  ops.add("agg_micro", in_both(agg_micro));
  ops.add("gspo", in_both(gspo));
  ops.add("cispo", in_both(cispo));
  ops.add("dppo_tv", in_both(dppo_tv));
  ops.add("rollout_is", in_both(rollout_is));
  ops.add("decoupled", in_both(decoupled));
  ops.add("offpolicy_mask", in_both(offpolicy_mask));
}

}  // namespace fulcrum::replay
