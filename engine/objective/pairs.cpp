#include "engine/objective/pairs.h"

#include <algorithm>

namespace fulcrum {

Status prepare_pairs(TrainBatch& batch, Metrics& metrics) {
  if (batch.num_rows() % 2 != 0) return internal_error("a batch of pairs has an odd number of rows");
  const int64_t pairs = batch.num_rows() / 2;
  batch.denominator = static_cast<double>(std::max<int64_t>(pairs, 1));
  int64_t empty = 0, identical = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    const BatchRow& chosen = batch.rows[static_cast<size_t>(2 * i)];
    const BatchRow& rejected = batch.rows[static_cast<size_t>(2 * i + 1)];
    if (chosen.group != rejected.group) {
      return internal_error("rows " + std::to_string(2 * i) + " and " + std::to_string(2 * i + 1) +
                            " are not a pair: their prompts differ");
    }
    empty += chosen.target_begin == chosen.target_end || rejected.target_begin == rejected.target_end;
    identical += std::equal(
        batch.target_ids.begin() + chosen.target_begin, batch.target_ids.begin() + chosen.target_end,
        batch.target_ids.begin() + rejected.target_begin, batch.target_ids.begin() + rejected.target_end);
  }
  add_metric(metrics, "pairs/empty", static_cast<double>(empty), static_cast<double>(pairs));
  add_metric(metrics, "pairs/identical", static_cast<double>(identical), static_cast<double>(pairs));
  return ok_status();
}

}  // namespace fulcrum
