// How a packed batch is cut for attention: which tokens stand in which padded block, and where each token's
// result is found again. Built on the host once for a batch, used by every layer, forward and backward.
// Immutable once built.
//
// Every prompt and every completion is a *segment* that attends to itself causally; a completion's tokens
// attend to their group's prompt besides. So nothing is computed or stored twice for a shared prompt, and
// every token stands in exactly one self block, so that both directions of the regrouping are plain row
// gathers.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

#include "engine/types/train_batch.h"

namespace fulcrum {

// Segments of about one length, each padded to `length` slots by repeating its last token.
struct TokenBlock {
  int64_t segments = 0, length = 0;
  at::Tensor token_S;    // int64 [segments * length]: the token in each slot
  at::Tensor padding_S;  // int64: the slots that only pad
};

// Completion tokens of some groups (a segment holds all of a group's) and the prompts they look at.
struct CrossBlock {
  TokenBlock queries, keys;
  at::Tensor
      key_mask;  // fp32 [segments, 1, 1, keys.length]: 0 or, at padding, -inf; undefined without padding
};

// Where each token's row is, among the concatenated slots of a list of blocks.
struct TokenSlots {
  at::Tensor slot_T;      // int64 [T]; 0 where the token stands in none
  at::Tensor present_T1;  // fp32 [T, 1]: 1 where it stands in one; undefined if all do
};

class AttentionPlan : public torch::CustomClassHolder {
 public:
  explicit AttentionPlan(const TrainBatch& batch);

  std::vector<TokenBlock> self;
  TokenSlots self_slots;
  std::vector<CrossBlock> cross;
  TokenSlots query_slots, key_slots;
};

}  // namespace fulcrum
