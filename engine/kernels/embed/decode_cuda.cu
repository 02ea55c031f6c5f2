#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/numbers.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void embed_kernel(EmbedRows in) {
  const DeviceRow row = in.rows[blockIdx.x];
  if (!row.live) return;
  const T* from = static_cast<const T*>(in.embedding) + row.token * in.n;
  float* to = in.hidden + blockIdx.x * in.n;
  for (int64_t i = threadIdx.x; i < in.n; i += kThreads) to[i] = to_fp32(from[i]);
}

}  // namespace

int embed_rows(const EmbedRows& in, DeviceStream stream) {
  const dim3 grid(static_cast<unsigned>(in.count)), block(kThreads);
  if (in.type == ActivationType::kBf16) return launch<embed_kernel<__nv_bfloat16>>(grid, block, stream, in);
  return launch<embed_kernel<float>>(grid, block, stream, in);
}

}  // namespace fulcrum::kernels::cuda
