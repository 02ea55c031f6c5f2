#include "engine/learner/accumulate.h"

#include <algorithm>
#include <array>

#include "engine/data/share.h"
#include "engine/learner/rank_share.h"

namespace fulcrum {
namespace {

// What a rank's share of the micro-batches gave, besides what each target has.
struct Share {
  double loss = 0;
  std::string not_finite;
  int64_t not_finite_row = 0;  // where in the batch, so that the ranks name the first one
  Metrics metrics;
};

Json message_of(const Share& share) {
  Json metrics = Json::object();
  for (const auto& [name, m] : share.metrics) metrics[name] = {m.sum, m.count};
  return {{"loss", share.loss},
          {"not_finite", share.not_finite},
          {"not_finite_row", share.not_finite_row},
          {"metrics", std::move(metrics)}};
}

Share share_of(const Json& message) {
  Share out{.loss = message.at("loss").get<double>(),
            .not_finite = message.at("not_finite").get<std::string>(),
            .not_finite_row = message.at("not_finite_row").get<int64_t>(),
            .metrics = {}};
  for (const auto& [name, m] : message.at("metrics").items())
    out.metrics[name] = {m.at(0).get<double>(), m.at(1).get<double>()};
  return out;
}

// Rank after rank, so that every rank adds in the same order.
Result<Share> add_shares(Agreement& ranks, Share mine) {
  if (ranks.alone()) return mine;
  TRY(messages, ranks.exchange(message_of(mine), "the losses"));
  Share out;
  for (const Json& message : messages) {
    const Share share = share_of(message);
    out.loss += share.loss;
    merge_metrics(out.metrics, share.metrics);
    const bool first = out.not_finite.empty() || share.not_finite_row < out.not_finite_row;
    if (share.not_finite.empty() || !first) continue;
    out.not_finite = share.not_finite;
    out.not_finite_row = share.not_finite_row;
  }
  return out;
}

}  // namespace

Result<StepLoss> accumulate(const LossPass& pass, const TrainBatch& batch, Metrics& metrics,
                            const std::stop_token& stop) {
  pass.ranks.begin();
  StepLoss out;
  const Needs needs = pass.objective.needs();
  if (!pass.models.policy.spec().score_head) out.logps.resize(batch.target_ids.size());
  if (needs.divergence) out.reference_logps.resize(batch.target_ids.size());
  Share mine;
  // Alone, straight to where they belong: the order of the additions decides the last bits.
  Metrics& my_metrics = pass.ranks.alone() ? metrics : mine.metrics;
  for (const RowRange range : my_share(pass.ranks.group(), batch, pass.options.max_tokens, needs.pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    TRY(result, run_micro_batch(pass.models, pass.objective, part, pass.options, pass.old_is_current));
    mine.loss += result.loss;
    if (mine.not_finite.empty()) {
      mine.not_finite = std::move(result.not_finite);
      mine.not_finite_row = range.begin;
    }
    merge_metrics(my_metrics, result.metrics);
    put_targets(batch, range, result.logps_N, out.logps);
    put_targets(batch, range, result.reference_logps_N, out.reference_logps);
  }
  if (stop.stop_requested()) return cancelled();
  TRY(all, add_shares(pass.ranks, std::move(mine)));
  const std::array values = {&out.logps, &out.reference_logps};
  TRY_DO(sum_values(pass.ranks.group(), values, "the log-probs after the losses"));
  out.value = all.loss;
  out.not_finite = std::move(all.not_finite);
  merge_metrics(metrics, all.metrics);
  return out;
}

}  // namespace fulcrum
