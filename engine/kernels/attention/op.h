// Attention of one query row over the keys and values before it (Vaswani et al., "Attention is all you need",
// 2017, eq. 1; grouped queries: Ainslie et al., 2023). Keys and values lie in pages of kPagePositions
// positions; a sequence is a list of pages, and sequences may share pages. The result depends on the
// positions alone, not on which pages hold them. Called by policy/decode. Thread-safe on disjoint pages,
// scratch and outputs.
#pragma once

#include <cstdint>

#include "engine/kernels/aligned.h"

namespace fulcrum::kernels {

inline constexpr int64_t kPagePositions = 16;

struct AttentionShape {
  int64_t heads = 0;  // query heads; head h reads the keys of h / (heads / kv_heads)
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  float scale = 1;  // 1 / sqrt(head_dim)

  // A page of one layer holds, for each kv head, keys as [head_dim][16 positions], then for each kv head
  // values as [16 positions][value_stride()]: scores have positions in the lanes, outputs have dimensions in
  // the lanes.
  int64_t value_stride() const { return round_up(head_dim, kRowAlign); }
  int64_t page_floats() const { return kv_heads * kPagePositions * (head_dim + value_stride()); }
};

// Writes one position's keys and values, [kv_heads][head_dim] each, to its slot (0..15) of a page.
void store_key_value(const AttentionShape& shape, const float* keys, const float* values, float* page,
                     int64_t slot);

struct AttentionInput {
  const float* query = nullptr;         // [heads][head_dim]
  const float* const* pages = nullptr;  // the sequence's pages; slots never written hold finite numbers
  int64_t page_offset = 0;              // where in each page this layer begins
  int64_t positions = 0;                // keys to look at: those before, and the row's own
  float* scratch = nullptr;             // attention_scratch(positions) floats
};
// Scores of two heads.
inline constexpr int64_t attention_scratch(int64_t positions) {
  return 2 * round_up(positions, kPagePositions);
}

// output: [heads][head_dim]. A score is a chain of fused multiply-adds over head_dim; the softmax's sum has
// sixteen chains (position i goes to chain i mod 16), halves added; an output is four chains over positions
// (i mod 4), added as (0 + 1) + (2 + 3), then divided by the sum.
void attention_row(const AttentionShape& shape, const AttentionInput& in, float* output);

namespace reference {
void attention_row(const AttentionShape& shape, const AttentionInput& in, float* output);
}  // namespace reference

}  // namespace fulcrum::kernels
