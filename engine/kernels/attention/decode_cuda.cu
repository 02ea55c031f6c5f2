#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/numbers.cuh"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kLanes = 8;                 // that share a key
constexpr int kKeys = kThreads / kLanes;  // at a time
constexpr int kHeadsAtATime = 4;          // that one look at a key serves
constexpr int kTile = kAttentionTile;

// The softmax of some positions: the largest score, the sum of e^(scale (score - largest)), and the values
// weighted by those.
struct Softmax {
  float largest = -INFINITY, sum = 0;
};

// What the sums of two parts are multiplied with when they are joined.
struct Join {
  float before, after;
};
__device__ Join join(Softmax& all, const Softmax& next, float scale) {
  const float largest = all.largest < next.largest ? next.largest : all.largest;
  const Join by{exp_fp32(__fmul_rn(all.largest - largest, scale)),
                exp_fp32(__fmul_rn(next.largest - largest, scale))};
  all.largest = largest;
  all.sum = fmaf(all.sum, by.before, __fmul_rn(next.sum, by.after));
  return by;
}
__device__ float joined(float all, float next, const Join& by) {
  return fmaf(all, by.before, __fmul_rn(next, by.after));
}

// A block's row and the query heads that share a kv head, and its shared memory.
template <class T>
struct Heads {
  __device__ Heads(const AttendRows& all_rows, const DeviceRow& its_row)
      : in(all_rows),
        row(its_row),
        group(static_cast<int>(in.heads / in.cache.kv_heads)),
        stride(static_cast<int>(in.cache.head_stride)) {
    queries = dynamic_shared<float>();
    weights = queries + group * stride;
    sums = weights + group * kTile;
    all = reinterpret_cast<Softmax*>(sums + group * stride);
    by = reinterpret_cast<Join*>(all + group);
  }

  // Keys of a page's positions; values lie kv_heads heads further.
  __device__ const T* keys(int64_t position) const {
    const PagedCache& c = in.cache;
    const int64_t page = c.tables[row.table * c.table_stride + position / kPagePositions];
    return static_cast<const T*>(c.pages) + page * c.page_elements + in.layer * c.layer_elements +
           blockIdx.x * kPagePositions * c.head_stride;
  }
  __device__ const T* values(int64_t position) const {
    return keys(position) + in.cache.kv_heads * kPagePositions * in.cache.head_stride;
  }

  const AttendRows& in;
  const DeviceRow& row;
  int group, stride;
  float* queries;  // [group][stride]
  float* weights;  // [group][kTile]: scores, then what they weigh
  float* sums;     // [group][stride]: values so far; an element belongs to one thread
  Softmax* all;    // [group]
  Join* by;        // [group]
};

size_t shared_bytes(int64_t group, int64_t stride) {
  return static_cast<size_t>(group * (2 * stride + kTile)) * sizeof(float) +
         static_cast<size_t>(group) * (sizeof(Softmax) + sizeof(Join));
}

template <class T>
__device__ void begin(const Heads<T>& h) {
  const int64_t dim = h.in.cache.head_dim;
  const float* query =
      h.in.qkv + (blockIdx.y * (h.in.heads + 2 * h.in.cache.kv_heads) + int64_t{blockIdx.x} * h.group) * dim;
  for (int i = threadIdx.x; i < h.group * h.stride; i += kThreads) {
    const int head = i / h.stride, at = i % h.stride;
    h.queries[i] = at < dim ? query[head * dim + at] : 0.0f;
    h.sums[i] = 0;
  }
  for (int i = threadIdx.x; i < h.group; i += kThreads) h.all[i] = Softmax();
  __syncthreads();
}

// Scores of `n` positions from `first` on: eight lanes take a key, eight numbers at a time.
template <class T>
__device__ void score(const Heads<T>& h, int64_t first, int n) {
  const int lane = threadIdx.x % kLanes;
  for (int base = 0; base < n; base += kKeys) {  // the same number of rounds for all lanes of a warp
    const int p = base + threadIdx.x / kLanes;
    const int64_t position = first + min(p, n - 1);
    const T* key = h.keys(position) + position % kPagePositions * h.stride;
    for (int head = 0; head < h.group; head += kHeadsAtATime) {
      float sum[kHeadsAtATime] = {};
      for (int i = lane * 8; i < h.stride; i += kLanes * 8) {
        float part[8];
        load<8>(key + i, part);
#pragma unroll
        for (int j = 0; j < kHeadsAtATime; ++j) {
          if (head + j >= h.group) break;
          const float* query = h.queries + (head + j) * h.stride + i;
#pragma unroll
          for (int e = 0; e < 8; ++e) sum[j] = fmaf(query[e], part[e], sum[j]);
        }
      }
#pragma unroll
      for (int j = 0; j < kHeadsAtATime; ++j) {
        if (head + j >= h.group) break;
        for (int other = kLanes / 2; other > 0; other /= 2)
          sum[j] += __shfl_xor_sync(kAllLanes, sum[j], other);
        if (lane == 0 && p < n) h.weights[(head + j) * kTile + p] = sum[j];
      }
    }
  }
}

// Scores to weights, a warp for a head, and what the tile's values and those before it are multiplied with.
template <class T>
__device__ void weigh(const Heads<T>& h, int n) {
  const int lane = threadIdx.x % 32;
  for (int head = threadIdx.x / 32; head < h.group; head += kWarps) {
    float* weights = h.weights + head * kTile;
    Softmax tile;
    for (int p = lane; p < n; p += 32) tile.largest = max(tile.largest, weights[p]);
    for (int other = 16; other > 0; other /= 2)
      tile.largest = max(tile.largest, __shfl_xor_sync(kAllLanes, tile.largest, other));
    for (int p = lane; p < n; p += 32) {
      weights[p] = exp_fp32(__fmul_rn(weights[p] - tile.largest, h.in.scale));
      tile.sum += weights[p];
    }
    for (int other = 16; other > 0; other /= 2) tile.sum += __shfl_xor_sync(kAllLanes, tile.sum, other);
    if (lane == 0) h.by[head] = join(h.all[head], tile, h.in.scale);
  }
}

template <class T>
__device__ void add_values(const Heads<T>& h, int64_t first, int n) {
  for (int i = threadIdx.x; i < h.group * h.stride; i += kThreads) {
    const int head = i / h.stride, at = i % h.stride;
    const float* weights = h.weights + head * kTile;
    float sum = 0;
    for (int page = 0; page < n; page += kPagePositions) {
      const T* values = h.values(first + page) + at;
      const int end = min(n - page, static_cast<int>(kPagePositions));
#pragma unroll 16
      for (int p = 0; p < end; ++p) sum = fmaf(weights[page + p], to_fp32(values[p * h.stride]), sum);
    }
    h.sums[i] = joined(h.sums[i], sum, h.by[head]);
  }
}

template <class T>
__device__ void store(const AttendRows& in, int64_t row, int64_t head, int at, float value) {
  T* out = static_cast<T*>(in.out);
  out[(row * in.heads + head) * in.cache.head_dim + at] = as(value, out);
}

// A block for a kv head (x) and a row (y): for one tile (z) where tiles run side by side, else for all.
template <class T, class Out, bool kSideBySide>
__global__ void attend_kernel(AttendRows in) {
  const DeviceRow row = in.rows[blockIdx.y];
  if (!row.live) return;
  const int64_t positions = row.position + 1;
  const int64_t tiles = (positions + kTile - 1) / kTile;
  const int64_t begin_tile = kSideBySide ? blockIdx.z : 0;
  const int64_t end_tile = kSideBySide ? min(begin_tile + 1, tiles) : tiles;
  if (begin_tile >= end_tile) return;
  const Heads<T> h(in, row);
  begin(h);
  for (int64_t tile = begin_tile; tile < end_tile; ++tile) {
    const int n = static_cast<int>(min(positions - tile * kTile, int64_t{kTile}));
    score(h, tile * kTile, n);
    __syncthreads();
    weigh(h, n);
    __syncthreads();
    add_values(h, tile * kTile, n);
    __syncthreads();
  }
  for (int i = threadIdx.x; i < h.group * h.stride; i += kThreads) {
    const int in_group = i / h.stride, at = i % h.stride;
    const int64_t head = int64_t{blockIdx.x} * h.group + in_group;
    if constexpr (kSideBySide) {
      float* part = in.parts + ((blockIdx.y * in.heads + head) * in.tiles + begin_tile) * (h.stride + 2);
      part[at] = h.sums[i];
      if (at == 0) {
        part[h.stride] = h.all[in_group].largest;
        part[h.stride + 1] = h.all[in_group].sum;
      }
    } else if (at < in.cache.head_dim) {
      store<Out>(in, blockIdx.y, head, at, h.sums[i] / h.all[in_group].sum);
    }
  }
}

// Joins the tiles of a head (x) of a row (y), in order.
template <class Out>
__global__ void join_kernel(AttendRows in) {
  const DeviceRow row = in.rows[blockIdx.y];
  if (!row.live) return;
  const int64_t tiles = row.position / kTile + 1, stride = in.cache.head_stride;
  const float* parts = in.parts + (int64_t{blockIdx.y} * in.heads + blockIdx.x) * in.tiles * (stride + 2);
  for (int at = threadIdx.x; at < in.cache.head_dim; at += blockDim.x) {
    Softmax all;
    float sum = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const float* part = parts + tile * (stride + 2);
      const Softmax next{part[stride], part[stride + 1]};
      const Join by = join(all, next, in.scale);
      sum = joined(sum, part[at], by);
    }
    store<Out>(in, blockIdx.y, blockIdx.x, at, sum / all.sum);
  }
}

template <class T, class Out>
int attend(const AttendRows& in, DeviceStream stream) {
  const auto rows = static_cast<unsigned>(in.count), kv_heads = static_cast<unsigned>(in.cache.kv_heads);
  const size_t shared = shared_bytes(in.heads / in.cache.kv_heads, in.cache.head_stride);
  if (in.tiles < 2) {  // one tile joins nothing
    return launch_with_shared<attend_kernel<T, Out, false>>(dim3(kv_heads, rows), dim3(kThreads), shared,
                                                            stream, in);
  }
  const dim3 grid(kv_heads, rows, static_cast<unsigned>(in.tiles));
  const int error = launch_with_shared<attend_kernel<T, Out, true>>(grid, dim3(kThreads), shared, stream, in);
  if (error != 0) return error;
  return launch<join_kernel<Out>>(dim3(static_cast<unsigned>(in.heads), rows), dim3(64), stream, in);
}

}  // namespace

int attend_rows(const AttendRows& in, DeviceStream stream) {
  const bool bf16 = in.type == ActivationType::kBf16;
  if (in.cache.type == ActivationType::kBf16) {
    return bf16 ? attend<__nv_bfloat16, __nv_bfloat16>(in, stream) : attend<__nv_bfloat16, float>(in, stream);
  }
  return bf16 ? attend<float, __nv_bfloat16>(in, stream) : attend<float, float>(in, stream);
}

}  // namespace fulcrum::kernels::cuda
