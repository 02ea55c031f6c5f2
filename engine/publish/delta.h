// The difference between two versions of bf16 weights as bytes: at the learning rates of reinforcement
// learning some weights in a hundred change in a step, most of them by one unit in the last place. A changed
// weight costs about 1.6 bytes: where one in a hundred changes, a version is 125 times smaller than the
// weights. Encoded by the learner where a device finds what has changed (engine/learner), else by its fleet
// (rollout/rpc); applied by workers. Pure, thread-safe. The bytes are foreign to the worker: whatever they
// are, apply_delta stays inside the weights.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

// What makes `next` of `base`, two sets of one layout. Nothing where it would be longer than half of the
// weights: then they are better sent whole.
std::optional<std::string> encode_delta(std::span<const uint16_t> base, std::span<const uint16_t> next);

// A weight that is another now.
struct ChangedWeight {
  uint64_t at = 0;
  uint16_t now = 0;
};
// The same bytes where it is known what has changed, in order; `weights` are the ones before and become the
// next ones, also where nothing is given. kDataLoss: these are not the changes of these weights (out of
// order, beyond the end, or a weight is what it was before); the weights are unusable then.
Result<std::optional<std::string>> encode_changes(std::span<uint16_t> weights,
                                                  std::span<const ChangedWeight> changes);

// Makes the next weights of `weights`, in place. kDataLoss: these are not the bytes of a difference for
// weights of this number; the weights are unusable then. Whether they were the right base, a hash must tell.
Status apply_delta(std::string_view delta, std::span<uint16_t> weights);

}  // namespace fulcrum
