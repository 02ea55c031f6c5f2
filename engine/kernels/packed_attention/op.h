// Causal attention of packed rows that share a prompt, forward and backward, rotary embedding included: one
// group (a prompt and its completions) and one head of keys at a time (Vaswani et al., "Attention is all you
// need", 2017, eq. 1; the backward pass as in Dao et al., "FlashAttention", 2022, algorithm 4, over blocks of
// queries). Called by policy/nn, which gives every group and key head to some thread. Thread-safe on disjoint
// groups or key heads.
//
// A prompt's tokens look at the prompt; a completion's tokens at the prompt and at their own past. Every sum
// has an order that depends on the group alone: the same bits with any neighbours and any number of threads.
#pragma once

#include <cstdint>
#include <span>

namespace fulcrum::kernels {

struct TokenRange {
  int64_t begin = 0, end = 0;
};

// The rows of one layer, T of them.
struct PackedRows {
  int64_t heads = 0;               // query heads; head h reads the keys of h / (heads / kv_heads)
  int64_t kv_heads = 0;            //
  int64_t head_dim = 0;            // even
  const float* qkv = nullptr;      // [T, (heads + 2 kv_heads) head_dim]: q, k, v, before rotation
  const float* cosines = nullptr;  // [T, head_dim / 2], of each token's position
  const float* sines = nullptr;

  int64_t columns() const { return (heads + 2 * kv_heads) * head_dim; }
  int64_t out_columns() const { return heads * head_dim; }
};

// `group`: the prompt's tokens, then those of each completion; none empty. Writes their rows of
// out [T, heads head_dim] and, for the backward pass, of lse [T, heads] (log sum exp of the scaled scores),
// in the columns of the query heads that read `kv_head`.
void packed_attention(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head, float* out,
                      float* lse);

struct PackedGradient {
  const float* out = nullptr;    // what the forward pass wrote
  const float* lse = nullptr;    //
  const float* d_out = nullptr;  // [T, heads head_dim]
  float* d_qkv = nullptr;        // [T, columns()]: written, in the columns of `kv_head` and its query heads
};
void packed_attention_backward(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head,
                               const PackedGradient& gradient);

namespace reference {
void packed_attention(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head, float* out,
                      float* lse);
void packed_attention_backward(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head,
                               const PackedGradient& gradient);
}  // namespace reference

}  // namespace fulcrum::kernels
