// A TrainBatch in parts that fit a forward pass. Called by the learner and the log-prob pass. Pure functions,
// thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/types/train_batch.h"

namespace fulcrum {

// Rows [begin, end) of a batch.
struct RowRange {
  int64_t begin = 0, end = 0;
};

// Cuts the rows, in order, into ranges of at most `max_tokens` tokens, a shared prompt counted once a range.
// Groups stay whole where they fit. With `pairs`, rows 2i and 2i + 1 stay together. What is longer than the
// limit by itself (a row, a pair) gets a range of its own.
std::vector<RowRange> micro_batches(const TrainBatch& batch, int64_t max_tokens, bool pairs);

// The same by targets, for what is done target by target: ranges of at most `max_targets`, and none without
// targets unless the batch has none.
std::vector<RowRange> target_ranges(const TrainBatch& batch, int64_t max_targets, bool pairs);

// Tokens that a forward pass over the range holds: a shared prompt counts once.
int64_t range_tokens(const TrainBatch& batch, RowRange range);

// The rows of a range as a batch of their own: prompts of the touched groups copied, indices renumbered,
// per-target arrays cut, denominators kept.
TrainBatch slice(const TrainBatch& batch, RowRange range);

// The same of whole groups, in the order given.
TrainBatch gather(const TrainBatch& batch, std::span<const int64_t> groups);

}  // namespace fulcrum
