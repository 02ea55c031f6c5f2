#include "engine/cli/engine/judge_pairs.h"

#include <cmath>

#include "engine/data/pack.h"
#include "policy/text/model_tokenizer.h"
#include "reward/model/score_model.h"

namespace fulcrum::cli {

Result<PairsReport> judge_pairs(const Model& model, const JudgePairsOptions& o, std::stop_token stop) {
  TRY(tokenizer, load_tokenizer_of(model, o.tokenizer, {.splitter = o.splitter}));
  TRY(data, Dataset::open({.files = o.files,
                           .format = RowFormat::kPreference,
                           .max_length = model.spec.max_position_embeddings,
                           .leave_out_bad = true,
                           .shuffle = false},
                          *tokenizer, model.spec.vocab_size));
  TRY(judge, ScoreModel::create(model));
  std::vector<const DataRow*> rows;
  for (int64_t i = 0; i < data.size(); ++i) rows.push_back(&data.row(i));
  TRY(scores, judge->scores(pack_rows(rows, RowFormat::kPreference), Deadline::never(), stop));
  PairsReport out{.pairs = data.size(), .bad_rows = data.bad_rows()};
  const auto n = static_cast<double>(out.pairs);
  for (size_t i = 0; i + 1 < scores.size(); i += 2) {
    out.mean_chosen += scores[i] / n;
    out.mean_rejected += scores[i + 1] / n;
    if (scores[i] > scores[i + 1]) out.accuracy += 1 / n;
  }
  out.margin = out.mean_chosen - out.mean_rejected;
  out.std_error = std::sqrt(out.accuracy * (1 - out.accuracy) / n);
  return out;
}

}  // namespace fulcrum::cli
