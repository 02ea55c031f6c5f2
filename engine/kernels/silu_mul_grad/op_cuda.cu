#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"
#include "engine/kernels/silu_mul/silu.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// A thread for each four numbers of a row. `y` may be `dy`.
template <class T>
__global__ void __launch_bounds__(kItemThreads)
    swiglu_gradient_items(const float* gate_up, const float* dy, int64_t rows, int64_t n, bool vector,
                          float* d_gate_up, T* y) {
  const int64_t a_row = (n + 3) / 4;
  for (int64_t item = first_item(); item < rows * a_row; item += item_step()) {
    const int64_t row = item / a_row, at = (item - row * a_row) * 4;
    const float* gates = gate_up + row * 2 * n;
    const Quad gate = load_quad(gates, at, n, vector), up = load_quad(gates + n, at, n, vector);
    const Quad upstream = load_quad(dy + row * n, at, n, vector);
    Quad d_gate, d_up, out;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float below = silu_below(gate.of[j]), s = 1.0f / below, silu = gate.of[j] / below;
      d_gate.of[j] = upstream.of[j] * up.of[j] * (s * fmaf(gate.of[j], 1.0f - s, 1.0f));
      d_up.of[j] = upstream.of[j] * silu;
      out.of[j] = silu * up.of[j];
    }
    float* d_gates = d_gate_up + row * 2 * n;
    store_quad(d_gates, at, n, vector, d_gate);
    store_quad(d_gates + n, at, n, vector, d_up);
    store_quad(y + row * n, at, n, vector, out);
  }
}

template <class T>
int launch_gradient(const float* gate_up, const float* dy, int64_t rows, int64_t n, float* d_gate_up, T* y,
                    DeviceStream stream) {
  const bool vector = n % 4 == 0 && by_fours(gate_up) && by_fours(dy) && by_fours(d_gate_up) && by_fours(y);
  return launch<swiglu_gradient_items<T>>(item_blocks(rows * ((n + 3) / 4)), kItemThreads, stream, gate_up,
                                          dy, rows, n, vector, d_gate_up, y);
}

}  // namespace

int swiglu_backward(const float* gate_up, const float* dy, int64_t rows, int64_t n, ActivationType type,
                    float* d_gate_up, void* y, DeviceStream stream) {
  if (type == ActivationType::kBf16)
    return launch_gradient(gate_up, dy, rows, n, d_gate_up, static_cast<__nv_bfloat16*>(y), stream);
  return launch_gradient(gate_up, dy, rows, n, d_gate_up, static_cast<float*>(y), stream);
}

}  // namespace fulcrum::kernels::cuda
