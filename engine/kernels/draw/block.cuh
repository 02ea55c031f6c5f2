// A row of logits as the block that draws from it sees it. Included by the kernels of engine/kernels/draw.
#pragma once

#include "engine/kernels/device/decode_table.h"
#include "engine/kernels/device/numbers.cuh"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {

struct LogitsRow {
  const float* logits;
  int64_t n;
  float temperature;
  float largest;  // score

  __device__ float score(int64_t i) const { return __fdiv_rn(logits[i], temperature); }
  __device__ float weight(int64_t i) const { return exp_fp32(score(i) - largest); }
};

// Scores as numbers without sign in the same order; -0 counts as 0.
__device__ inline uint32_t order_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float score_of(uint32_t order) {
  return __uint_as_float(order & 0x80000000u ? order & 0x7FFFFFFFu : ~order);
}

// What is counted over the vocabulary.
struct Tally {
  double mass = 0, count = 0;
};

// The sum over a block's threads, for all of them.
__device__ inline Tally add_up(const Tally& mine) {
  double sums[2] = {mine.mass, mine.count};
  block_sums(sums);
  return {sums[0], sums[1]};
}

}  // namespace fulcrum::kernels::cuda
