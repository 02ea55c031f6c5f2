// Weights rounded to bf16, side by side in one buffer: what those who generate in bf16 are given, what
// travels to a bf16 job's workers, and what the difference between two versions is taken of. Made by the
// learner (engine/learner/published_weights.h), or here of tensors; sent by engine/rpc. Pure, thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// In bytes: tensors begin at whole cache lines, which any SIMD width likes; the buffer is whole chunks of the
// wire.
inline constexpr int64_t kFlatAlignment = 64, kFlatMultiple = int64_t{1} << 20;

// Where tensors stand, in the order of their names; between them and behind them is 0. Counted in weights.
struct FlatLayout {
  struct Place {
    std::string name;
    std::vector<int64_t> shape;
    int64_t begin = 0, size = 0;
  };
  std::vector<Place> places;
  int64_t size = 0;     // of the buffer
  int64_t weights = 0;  // without what is between them
};
FlatLayout flat_layout(const std::map<std::string, std::vector<int64_t>>& shapes);

using FlatValues = std::vector<uint16_t>;

// How weights came from those before, as bytes (engine/publish/delta.h).
struct FlatChange {
  uint64_t base_hash = 0;
  std::shared_ptr<const std::string> delta;
};

struct FlatWeights {
  std::shared_ptr<const FlatValues> values;
  TensorMap tensors;                 // the same: BF16 views of them
  uint64_t hash = 0;                 // flat_hash() of them
  std::optional<FlatChange> change;  // where it is known
  int64_t read_bytes = 0;            // that came from the learner's device for it
};

// The values' tensors, and nothing known of where they come from.
FlatWeights flat_weights(std::shared_ptr<const FlatValues> values, const FlatLayout& layout, uint64_t hash);
// Tensors rounded. kInvalidArgument naming one that is no floating type.
Result<FlatWeights> flatten_to_bf16(const TensorMap& tensors);

// What a worker's weights are verified by: hash64 of the hash64 of every piece (engine/kernels/piece_hashes),
// so that a device can take it of weights that lie there.
uint64_t flat_hash(std::span<const uint16_t> values);
uint64_t flat_hash_of(std::span<const uint64_t> piece_hashes);

}  // namespace fulcrum
