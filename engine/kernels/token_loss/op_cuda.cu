#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// A logit over the temperature: a division, as the CPU's.
__device__ __forceinline__ float scaled(float logit, float temperature) {
  return temperature != 1 ? logit / temperature : logit;
}

// sum e^(z - max) and sum e^(z - max) (z - max) over the logits seen so far, in one walk: with a larger
// logit the sums shrink to the new maximum (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018, algorithm 3).
template <bool kEntropy>
struct Online {
  float max = -INFINITY;
  double sum = 0, weighted = 0;

  __device__ __forceinline__ void add(const Quad& z) {
    const float largest = fmaxf(fmaxf(z.of[0], z.of[1]), fmaxf(z.of[2], z.of[3]));
    if (largest > max) {
      if (sum != 0) shrink(max - largest, expf(max - largest));
      max = largest;
    }
    const float from = max == -INFINITY ? 0 : max;  // nothing but -infinity (and NaN) so far
    float four = 0, products = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float below = z.of[j] - from, weight = expf(below);
      four += weight;
      if (kEntropy) products = fmaf(weight, weight == 0 ? 0 : below, products);
    }
    sum += four;
    if (kEntropy) weighted += products;
  }
  // To a maximum that is larger: apart <= 0, factor = e^apart. In fp32 while the walk goes on, when some lane
  // of a warp nearly always meets a larger logit and e^x in double would take more time than the memory.
  __device__ __forceinline__ void shrink(double apart, double factor) {
    if (kEntropy) weighted = factor * (weighted + sum * apart);
    sum *= factor;
  }
};

template <bool kEntropy>
__global__ void __launch_bounds__(kLargestBlock)
    token_loss_rows(LossRows in, float* logps, double* lse, float* entropies) {
  for (int64_t row = blockIdx.x; row < in.rows; row += gridDim.x) {
    const float* logits = in.logits + row * in.n;
    Online<kEntropy> online;
    for_quads({logits}, 0, in.n, by_fours(logits), -INFINITY, [&](int64_t, const Quad(&q)[1]) {
      Quad z;
#pragma unroll
      for (int j = 0; j < 4; ++j) z.of[j] = scaled(q[0].of[j], in.temperature);
      online.add(z);
    });
    const float max = block_max(online.max);
    const double apart = static_cast<double>(online.max) - static_cast<double>(max);
    if (online.sum != 0) online.shrink(apart, exp(apart));
    double sums[2] = {online.sum, online.weighted};
    block_sums(sums);
    if (threadIdx.x != 0) continue;
    const double log_total = log(sums[0]);
    const float own = scaled(logits[in.ids[row]], in.temperature);
    logps[row] = static_cast<float>(static_cast<double>(own - max) - log_total);
    lse[row] = static_cast<double>(max) + log_total;
    if (kEntropy) entropies[row] = static_cast<float>(log_total - sums[1] / sums[0]);
  }
}

// Every number is on its own here, so a row is cut into parts, a block each.
constexpr int64_t kPart = int64_t{kLargestBlock} * 16;

__global__ void __launch_bounds__(kLargestBlock)
    token_loss_gradient_parts(LossRows in, int64_t parts, const double* lse, const float* coefficients) {
  for (int64_t part = blockIdx.x; part < in.rows * parts; part += gridDim.x) {
    const int64_t row = part / parts, begin = (part - row * parts) * kPart, end = min(begin + kPart, in.n);
    float* logits = in.logits + row * in.n;
    const bool vector = by_fours(logits);
    const float factor = coefficients[row] / in.temperature;
    const int64_t id = in.ids[row];
    const Shift below(lse[row]);
    for_quads({logits}, begin, end, vector, 0, [&](int64_t at, const Quad(&q)[1]) {
      Quad out;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float p = expf(below(scaled(q[0].of[j], in.temperature)));
        out.of[j] = at + j == id ? factor * (1.0f - p) : p * -factor;
      }
      store_quad(logits, at, end, vector, out);
    });
  }
}

}  // namespace

int token_losses(const LossRows& in, float* logps, double* lse, float* entropies, DeviceStream stream) {
  if (in.n == 0) return cudaSuccess;
  const dim3 grid(row_blocks(in.rows)), block(row_threads(in.n));
  if (entropies != nullptr)
    return launch<token_loss_rows<true>>(grid, block, stream, in, logps, lse, entropies);
  return launch<token_loss_rows<false>>(grid, block, stream, in, logps, lse, entropies);
}

int token_loss_gradients(const LossRows& in, const double* lse, const float* coefficients,
                         DeviceStream stream) {
  const int64_t parts = (in.n + kPart - 1) / kPart;
  return launch<token_loss_gradient_parts>(row_blocks(in.rows * parts), row_threads(min(in.n, kPart)), stream,
                                           in, parts, lse, coefficients);
}

}  // namespace fulcrum::kernels::cuda
