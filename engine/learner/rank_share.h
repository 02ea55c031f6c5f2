// A rank's share of a batch, and how what the ranks found of their targets comes together. Called by the
// learner's passes.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "engine/data/slice.h"
#include "engine/learner/agreement.h"

namespace fulcrum {

// The micro-batches that this rank runs: all of them where it is alone.
std::vector<RowRange> my_share(const Collective& group, const TrainBatch& batch, int64_t max_tokens,
                               bool pairs);

// Writes what a micro-batch says of its targets to their places among all N; nothing if it is undefined.
void put_targets(const TrainBatch& batch, RowRange range, const at::Tensor& values_N,
                 std::vector<float>& into);

// Log-probs of the batch's targets, [N]: each rank asks `logps` for its share; with `only_leader` rank 0 asks
// for all of them, for what only it can answer.
using LogpsOf = std::function<Result<std::vector<float>>(const TrainBatch& part)>;
Result<std::vector<float>> shared_logps(Agreement& ranks, const TrainBatch& batch, int64_t max_tokens,
                                        bool only_leader, const LogpsOf& logps);

}  // namespace fulcrum
