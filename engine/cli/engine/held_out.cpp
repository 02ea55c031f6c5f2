#include "engine/cli/engine/held_out.h"

#include <cstdio>
#include <numeric>
#include <utility>

#include "engine/data/pack.h"
#include "engine/learner/learner_config.h"
#include "policy/nn/policy.h"

namespace fulcrum::cli {
namespace {

struct TextScore {
  Scores per_text;
  double nll = 0;  // nats per token over all texts
};

Result<TextScore> score_texts(const Model& model, const Dataset& texts, const std::stop_token& stop) {
  const TrainBatch batch = pack_texts(texts);
  const LearnerConfig limits;
  TRY(policy, Policy::create(model, {}));
  TRY(logps, batch_logps(*policy, batch, 1.0, limits.max_tokens_per_micro_batch, limits.logits_chunk, stop));
  if (logps.empty()) return invalid_argument("the held-out texts have no token to predict");
  TextScore out;
  for (const BatchRow& row : batch.rows) {
    const double sum = std::accumulate(logps.begin() + row.target_begin, logps.begin() + row.target_end, 0.0);
    out.nll -= sum / static_cast<double>(logps.size());
    const auto tokens = static_cast<double>(row.target_end - row.target_begin);
    if (tokens > 0) out.per_text.push_back(sum / tokens);
  }
  return out;
}

}  // namespace

TrainBatch pack_texts(const Dataset& texts) {
  std::vector<const DataRow*> rows;
  for (int64_t i = 0; i < texts.size(); ++i) rows.push_back(&texts.row(i));
  return pack_rows(rows, RowFormat::kCompletion);
}

Result<HeldOut> HeldOut::open(HeldOutOptions options, std::shared_ptr<const Tokenizer> tokenizer,
                              const ModelSpec& spec) {
  HeldOut out(std::move(options), std::move(tokenizer));
  if (out.options_.texts.empty()) return out;
  TRY(texts, Dataset::open({.files = out.options_.texts,
                            .format = RowFormat::kCompletion,
                            .max_length = spec.max_position_embeddings,
                            .shuffle = false},
                           *out.tokenizer_, spec.vocab_size));
  out.texts_ = std::move(texts);
  return out;
}

Result<Scores> HeldOut::score(const Model& model) const {
  if (options_.prompts.rewards.empty()) {
    TRY(scored, score_texts(model, *texts_, options_.stop));
    return scored.per_text;
  }
  TRY(report, measure(model, tokenizer_, options_.prompts, options_.stop));
  return prompt_rewards(report);
}

Result<std::optional<BarrierReport>> HeldOut::barrier(const Model& soup, std::span<const Ingredient> models,
                                                      std::span<const double> weights, double limit) const {
  if (!texts_) return std::optional<BarrierReport>();
  BarrierReport out{.limit = limit};
  for (const Ingredient& model : models) {
    TRY(alone, score_texts(model.model, *texts_, options_.stop));
    out.models.push_back(alone.nll);
  }
  TRY(mixed, score_texts(soup, *texts_, options_.stop));
  out.soup = mixed.nll;
  out.barrier = out.soup - std::inner_product(weights.begin(), weights.end(), out.models.begin(), 0.0);
  if (out.barrier <= limit) return std::optional(out);
  char text[160];
  std::snprintf(text, sizeof text,
                "the soup is %.3g nats per token worse than its models on average, more than --max-barrier "
                "%.3g: they do not lie in one basin",
                out.barrier, limit);
  return data_loss(text);
}

}  // namespace fulcrum::cli
