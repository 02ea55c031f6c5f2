// The same draw as rollout/sampler.cpp from the same logits: the largest score, then the weights' sums over
// blocks of kSoftmaxBlock in the order of kernels::softmax_weights(), then a walk over the ids in their
// order. The weights are not stored: a block computes those it walks again.
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/draw/block.cuh"
#include "engine/kernels/draw/filter.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kThreads = 256;  // of a block, at most
constexpr int kBlock = kSoftmaxBlock;
constexpr int kChains = 16;  // of a softmax block; a lane has one

__device__ int64_t slot_of(const DrawRows& in, int64_t i) { return in.slot == nullptr ? i : in.slot[i]; }
__device__ LogitsRow logits_of(const DrawRows& in, int64_t i, const DeviceSlot& slot) {
  const int64_t row = in.logits_row == nullptr ? i : in.logits_row[i];
  return {in.logits + row * in.vocabulary, in.vocabulary, slot.temperature, -INFINITY};
}
__device__ int64_t parts_of(const DrawRows& in) { return (in.vocabulary + kDrawPart - 1) / kDrawPart; }
__device__ int64_t blocks_of(const DrawRows& in) { return (in.vocabulary + kBlock - 1) / kBlock; }

// A score and who has it: of equal scores the lowest id.
struct Best {
  float score = -INFINITY;
  int32_t id = 0;
};
__device__ Best better(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.id < a.id) ? b : a;
}

// The best of a part (x) of a row's (y) logits.
__global__ void best_kernel(DrawRows in) {
  const int64_t i = blockIdx.y, at = slot_of(in, i);
  if (!in.rows[at].live) return;
  const LogitsRow row = logits_of(in, i, in.slots[at]);
  const int64_t begin = blockIdx.x * kDrawPart, end = min(begin + kDrawPart, row.n);
  Best best{-INFINITY, static_cast<int32_t>(begin)};
  for (int64_t id = begin + threadIdx.x; id < end; id += blockDim.x)
    best = better(best, {row.score(id), static_cast<int32_t>(id)});
  for (int other = 16; other > 0; other /= 2)
    best = better(
        best, {__shfl_xor_sync(kAllLanes, best.score, other), __shfl_xor_sync(kAllLanes, best.id, other)});
  __shared__ float scores[kThreads / 32];
  __shared__ int32_t ids[kThreads / 32];
  if (threadIdx.x % 32 == 0) {
    scores[threadIdx.x / 32] = best.score;
    ids[threadIdx.x / 32] = best.id;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < static_cast<int>(blockDim.x / 32); ++w) best = better(best, {scores[w], ids[w]});
  in.part_max[i * parts_of(in) + blockIdx.x] = best.score;
  in.part_id[i * parts_of(in) + blockIdx.x] = best.id;
}

__device__ Best best_of(const DrawRows& in, int64_t i) {
  const int64_t parts = parts_of(in);
  Best best;
  for (int64_t p = i * parts; p < (i + 1) * parts; ++p) best = better(best, {in.part_max[p], in.part_id[p]});
  return best;
}

// Weights summed over softmax blocks, sixteen lanes for each.
__global__ void block_sums_kernel(DrawRows in) {
  const int64_t i = blockIdx.y, at = slot_of(in, i);
  if (!in.rows[at].live) return;
  LogitsRow row = logits_of(in, i, in.slots[at]);
  row.largest = best_of(in, i).score;
  const int64_t block = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kChains;
  const int64_t end = min((block + 1) * kBlock, row.n);
  float sum = 0;
  for (int64_t id = block * kBlock + threadIdx.x % kChains; id < end; id += kChains) sum += row.weight(id);
  for (int other = kChains / 2; other > 0; other /= 2) sum += __shfl_xor_sync(kAllLanes, sum, other);
  if (threadIdx.x % kChains == 0 && block < blocks_of(in)) in.block_sums[i * blocks_of(in) + block] = sum;
}

// A row that draws: `sums` of its softmax blocks and what comes `before` each, in shared memory.
struct Walk {
  LogitsRow row;
  int64_t blocks;
  double* sums;
  double* before;

  // Fills `before`; the sum of all.
  __device__ double add_blocks() const {
    __shared__ double total;
    __syncthreads();
    if (threadIdx.x == 0) {
      double sum = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        before[b] = sum;
        sum += sums[b];
      }
      total = sum;
    }
    __syncthreads();
    return total;
  }

  // The block in which the running sum passes `target`, or the last.
  __device__ int64_t block_of(double target) const {
    int64_t low = 0, high = blocks - 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (before[middle] + sums[middle] > target) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  // The first token at which the running sum of the weights that `holds` keeps passes `target`; where
  // rounding keeps it below, the last that it keeps. In thread 0.
  template <class Holds>
  __device__ int64_t token(double target, const Holds& holds) const {
    __shared__ float weights[kBlock];
    __shared__ int64_t found;
    const int64_t block = block_of(target), begin = block * kBlock;
    const int n = static_cast<int>(min(row.n - begin, int64_t{kBlock}));
    __syncthreads();
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
      const float weight = row.weight(begin + j);
      weights[j] = holds(begin + j, weight) ? weight : 0.0f;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      found = -1;
      double sum = before[block];
      for (int j = 0; j < n; ++j) {
        sum += weights[j];
        if (weights[j] > 0) found = begin + j;
        if (sum > target) break;
      }
      for (int64_t id = begin - 1; found < 0 && id >= 0; --id) {
        const float weight = row.weight(id);
        if (weight > 0 && holds(id, weight)) found = id;
      }
    }
    return found;
  }
};

// The sums of the weights that a filter leaves, a warp for a softmax block.
__device__ void sum_kept(const Walk& walk, const Kept& kept) {
  for (int64_t block = threadIdx.x / 32; block < walk.blocks; block += blockDim.x / 32) {
    const int64_t end = min((block + 1) * kBlock, walk.row.n);
    double sum = 0;
    for (int64_t id = block * kBlock + threadIdx.x % 32; id < end; id += 32) {
      const float weight = walk.row.weight(id);
      if (kept.holds(walk.row, id, weight)) sum += weight;
    }
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(kAllLanes, sum, other);
    if (threadIdx.x % 32 == 0) walk.sums[block] = sum;
  }
}

// Writes a drawn token down and ends the sequence where a rule says so.
__device__ void take(DeviceRow& row, DeviceSlot& slot, int64_t id, float logp) {
  slot.ids[slot.drawn] = static_cast<int32_t>(id);
  slot.logps[slot.drawn] = logp;
  ++slot.drawn;
  row.token = static_cast<int32_t>(id);
  ++row.position;
  bool ends = --slot.remaining <= 0;
  for (int e = 0; e < kSlotEndings; ++e) ends = ends || slot.endings[e] == id;
  if (ends) row.live = 0;
}

// A block draws for a row. What it does with all its threads hangs on the slot alone.
__global__ void draw_kernel(DrawRows in) {
  const int64_t i = blockIdx.x, at = slot_of(in, i);
  DeviceRow& row = in.rows[at];
  DeviceSlot& slot = in.slots[at];
  const bool live = row.live;
  __syncthreads();  // all have looked before one ends it
  if (!live) return;
  const int64_t blocks = blocks_of(in);
  double* shared = dynamic_shared<double>();
  Walk walk{logits_of(in, i, slot), blocks, shared, shared + blocks};
  const Best best = best_of(in, i);
  walk.row.largest = best.score;
  for (int64_t b = threadIdx.x; b < blocks; b += blockDim.x) walk.sums[b] = in.block_sums[i * blocks + b];
  const double uniform = slot.uniforms[slot.drawn];  // before the barrier: later one thread counts on
  const double total = walk.add_blocks();
  if (!isfinite(total)) {
    if (threadIdx.x == 0) {
      slot.failed = 1;
      row.live = 0;
    }
    return;
  }
  int64_t id = best.id;
  if (!slot.greedy && slot.top_k == 0 && slot.top_p >= 1 && slot.min_p <= 0) {
    id = walk.token(uniform * total, [](int64_t, float) { return true; });
  } else if (!slot.greedy) {
    const Kept kept = filtered(walk.row, slot);
    __syncthreads();
    sum_kept(walk, kept);
    const double left = walk.add_blocks();
    id = walk.token(uniform * left,
                    [&](int64_t token, float weight) { return kept.holds(walk.row, token, weight); });
  }
  if (threadIdx.x != 0) return;
  const double score = walk.row.score(id);
  take(row, slot, id, static_cast<float>(score - best.score - log(total)));
}

}  // namespace

int draw_rows(const DrawRows& in, DeviceStream stream) {
  const auto rows = static_cast<unsigned>(in.count);
  const int64_t blocks = (in.vocabulary + kBlock - 1) / kBlock;
  const auto parts = static_cast<unsigned>((in.vocabulary + kDrawPart - 1) / kDrawPart);
  const auto best_threads = min(row_threads(in.vocabulary), unsigned{kThreads});
  // Sixteen threads a softmax block, whole warps.
  const auto sum_threads = static_cast<unsigned>(min(blocks * kChains, int64_t{kThreads}) + 31) / 32 * 32;
  const auto groups = (static_cast<unsigned>(blocks) * kChains + sum_threads - 1) / sum_threads;
  if (const int error = launch<best_kernel>(dim3(parts, rows), dim3(best_threads), stream, in); error != 0)
    return error;
  if (const int error = launch<block_sums_kernel>(dim3(groups, rows), dim3(sum_threads), stream, in);
      error != 0)
    return error;
  return launch_with_shared<draw_kernel>(dim3(rows), dim3(row_threads(in.vocabulary)),
                                         static_cast<size_t>(2 * blocks) * sizeof(double), stream, in);
}

}  // namespace fulcrum::kernels::cuda
