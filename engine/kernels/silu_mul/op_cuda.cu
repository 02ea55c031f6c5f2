#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"
#include "engine/kernels/silu_mul/silu.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// A thread for each four outputs of a row.
template <class T>
__global__ void __launch_bounds__(kItemThreads)
    swiglu_items(const float* gate_up, int64_t rows, int64_t n, bool vector, T* y) {
  const int64_t a_row = (n + 3) / 4;
  for (int64_t item = first_item(); item < rows * a_row; item += item_step()) {
    const int64_t row = item / a_row, at = (item - row * a_row) * 4;
    const float* gates = gate_up + row * 2 * n;
    const Quad gate = load_quad(gates, at, n, vector), up = load_quad(gates + n, at, n, vector);
    Quad out;
#pragma unroll
    for (int j = 0; j < 4; ++j) out.of[j] = gate.of[j] / silu_below(gate.of[j]) * up.of[j];
    store_quad(y + row * n, at, n, vector, out);
  }
}

template <class T>
int launch_swiglu(const float* gate_up, int64_t rows, int64_t n, T* y, DeviceStream stream) {
  const bool vector = n % 4 == 0 && by_fours(gate_up) && by_fours(y);
  return launch<swiglu_items<T>>(item_blocks(rows * ((n + 3) / 4)), kItemThreads, stream, gate_up, rows, n,
                                 vector, y);
}

}  // namespace

int swiglu(const float* gate_up, int64_t rows, int64_t n, ActivationType type, void* y, DeviceStream stream) {
  if (type == ActivationType::kBf16)
    return launch_swiglu(gate_up, rows, n, static_cast<__nv_bfloat16*>(y), stream);
  return launch_swiglu(gate_up, rows, n, static_cast<float*>(y), stream);
}

}  // namespace fulcrum::kernels::cuda
