// Weights rounded to bf16, side by side in one buffer: what a bf16 job sends to its workers, and what the
// difference between two versions is taken of. Called by the images of engine/rpc. Pure, thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/core/status.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// Where tensors begin and how long the buffer is, in bytes; both even.
struct FlatLayout {
  int64_t alignment = 64;
  int64_t multiple = 64;  // the buffer's length is one of these
};

struct FlatWeights {
  std::shared_ptr<const std::vector<uint16_t>> values;  // tensors in the order of their names, 0 between them
  std::shared_ptr<const WeightSet> weights;             // the same: BF16 views of them
};

// kInvalidArgument naming a tensor that is no floating type.
Result<FlatWeights> flatten_to_bf16(const WeightSet& weights, const FlatLayout& layout);

}  // namespace fulcrum
