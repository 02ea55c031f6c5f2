// A batch dealt to the ranks that compute it together. Called by the learner. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/data/slice.h"

namespace fulcrum {

// The micro-batches of each rank, in the batch's order: cut as micro_batches() cuts, but small enough that
// every rank gets a share; then the largest goes to the rank with the fewest tokens, and so on. A rank may
// get none. With one rank: micro_batches().
std::vector<std::vector<RowRange>> deal_micro_batches(const TrainBatch& batch, int64_t max_tokens, bool pairs,
                                                      int64_t ranks);

}  // namespace fulcrum
