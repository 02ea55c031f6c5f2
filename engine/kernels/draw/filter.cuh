// Which tokens top_k, top_p and min_p leave (rollout/sampler.h has the rules). The vocabulary is never
// sorted: the worst score that stays is found by halving the range of scores, each time with one look at all
// of them. Included by decode_cuda.cu; all functions are called by all threads of a block alike.
#pragma once

#include "engine/kernels/draw/block.cuh"

namespace fulcrum::kernels::cuda {

struct Kept {
  uint32_t least = 0;             // order_of the worst score that stays
  int64_t last_tied = INT64_MAX;  // of those with just that score, the ids up to this one
  double min_p = 0;

  // Before min_p.
  __device__ bool holds(uint32_t order, int64_t id) const {
    return order > least || (order == least && id <= last_tied);
  }
  __device__ bool holds(const LogitsRow& row, int64_t id, float weight) const {
    return weight > 0 && !(weight < min_p) && holds(order_of(row.score(id)), id);
  }
};

// The tokens of `kept` whose score has at least `order`.
__device__ inline Tally at_least(const LogitsRow& row, const Kept& kept, uint32_t order) {
  Tally mine;
  for (int64_t i = threadIdx.x; i < row.n; i += blockDim.x) {
    const uint32_t own = order_of(row.score(i));
    if (own < order || !kept.holds(own, i)) continue;
    mine.mass += row.weight(i);
    ++mine.count;
  }
  return add_up(mine);
}

// Those with just the score `order` and an id up to `last`.
__device__ inline double tied_until(const LogitsRow& row, const Kept& kept, uint32_t order, int64_t last) {
  Tally mine;
  for (int64_t i = threadIdx.x; i <= min(last, row.n - 1); i += blockDim.x)
    mine.count += order_of(row.score(i)) == order && kept.holds(order, i);
  return add_up(mine).count;
}

// The highest order from which on `enough` is true of the tally; 0 if it is of none.
template <class Enough>
__device__ uint32_t highest(const LogitsRow& row, const Kept& kept, const Enough& enough) {
  uint32_t low = 0, high = order_of(row.largest) + 1;  // enough at `low` (or never), not at `high`
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (enough(at_least(row, kept, middle))) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Cuts to the nucleus: a token stays if those before it, best first, of equal scores the lower id first, have
// less than p of the mass.
__device__ inline void keep_top_p(const LogitsRow& row, double p, Kept& kept) {
  const double wanted = p * at_least(row, kept, 0).mass;
  const uint32_t order = highest(row, kept, [&](const Tally& t) { return t.mass >= wanted; });
  const Tally better = at_least(row, kept, order + 1), all = at_least(row, kept, order);
  const double tied = all.count - better.count;
  if (tied > 1) {
    const double weight = exp_fp32(score_of(order) - row.largest);
    double stay = 1;
    while (stay < tied && better.mass + stay * weight < wanted) ++stay;
    int64_t low = -1, high = row.n - 1;  // fewer than `stay` up to `low`, as many up to `high`
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      if (tied_until(row, kept, order, middle) >= stay) {
        high = middle;
      } else {
        low = middle;
      }
    }
    kept.last_tied = high;
  }
  kept.least = order;
}

__device__ inline Kept filtered(const LogitsRow& row, const DeviceSlot& slot) {
  Kept kept;
  kept.min_p = slot.min_p;
  if (slot.top_k > 0 && slot.top_k < row.n)
    kept.least = highest(row, kept, [&](const Tally& t) { return t.count >= slot.top_k; });
  if (slot.top_p < 1) keep_top_p(row, slot.top_p, kept);
  return kept;
}

}  // namespace fulcrum::kernels::cuda
