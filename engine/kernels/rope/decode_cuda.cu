#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/numbers.cuh"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// Where a head's keys of the row's position lie; its values lie kv_heads heads further.
template <class T>
__device__ T* key_of(const RopeAndStore& in, const DeviceRow& row, int64_t kv_head) {
  const PagedCache& c = in.cache;
  const int64_t page = c.tables[row.table * c.table_stride + row.position / kPagePositions];
  return static_cast<T*>(c.pages) + page * c.page_elements + in.layer * c.layer_elements +
         (kv_head * kPagePositions + row.position % kPagePositions) * c.head_stride;
}

// A block for a row; a thread turns pairs of queries and keys and copies values.
template <class T>
__global__ void rope_and_store_kernel(RopeAndStore in) {
  const DeviceRow row = in.rows[blockIdx.x];
  if (!row.live) return;
  const PagedCache& c = in.cache;
  const int64_t half = c.head_dim / 2, all_heads = in.heads + 2 * c.kv_heads;
  float* qkv = in.qkv + blockIdx.x * all_heads * c.head_dim;
  const float *cosines = in.cosines + row.position * half, *sines = in.sines + row.position * half;
  for (int64_t pair = threadIdx.x; pair < all_heads * half; pair += kThreads) {
    const int64_t head = pair / half, i = pair % half;
    float* x = qkv + head * c.head_dim + i;
    float a = x[0], b = x[half];
    if (in.bias != nullptr) {
      a += in.bias[head * c.head_dim + i];
      b += in.bias[head * c.head_dim + i + half];
    }
    const int64_t kv_head = head - in.heads;
    T* to;
    if (kv_head >= c.kv_heads) {
      to = key_of<T>(in, row, kv_head - c.kv_heads) + c.kv_heads * kPagePositions * c.head_stride;
    } else {
      const float turned = fmaf(a, cosines[i], -__fmul_rn(b, sines[i]));
      b = fmaf(b, cosines[i], __fmul_rn(a, sines[i]));
      a = turned;
      if (kv_head < 0) {
        x[0] = a;
        x[half] = b;
        continue;
      }
      to = key_of<T>(in, row, kv_head);
    }
    to[i] = as(a, to);
    to[i + half] = as(b, to);
    for (int64_t past = c.head_dim + i; past < c.head_stride; past += half) to[past] = as(0.0f, to);
  }
}

}  // namespace

int rope_and_store(const RopeAndStore& in, DeviceStream stream) {
  const dim3 grid(static_cast<unsigned>(in.count)), block(kThreads);
  if (in.cache.type == ActivationType::kBf16)
    return launch<rope_and_store_kernel<__nv_bfloat16>>(grid, block, stream, in);
  return launch<rope_and_store_kernel<float>>(grid, block, stream, in);
}

}  // namespace fulcrum::kernels::cuda
