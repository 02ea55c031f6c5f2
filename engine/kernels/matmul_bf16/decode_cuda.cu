#include <type_traits>

#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/matmul_bf16/mma.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kChunk = 32;  // inputs of two instructions: a lane loads 16 bytes of a row

constexpr int kStep = kWarps * kChunk;

// Eight numbers of a row, at lane t of four the inputs from 8 t on: the pairs that the instructions take as
// theirs. Which input an instruction counts as which does not matter as long as both sides agree.
struct Part {
  uint4 pairs;

  __device__ __forceinline__ uint32_t of(int instruction, int half) const {
    const uint32_t all[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
    return all[2 * instruction + half];
  }
};
__device__ __forceinline__ Part load_part(const __nv_bfloat16* from) {
  return {*reinterpret_cast<const uint4*>(from)};
}

// y^T = W x^T: outputs are the rows of the instruction's matrices, rows of x their columns, so that a single
// row wastes columns and no loads of weights. A block has kOutputs times 16 outputs and kRows times 8 rows;
// warp w takes every fourth chunk of inputs from the w-th on, and the warps' sums are added in their order.
// An output's order of addition hangs on the number of inputs alone: instructions, then warps.
template <int kOutputs, int kRows>
__global__ void __launch_bounds__(kWarps * 32) product_kernel(Product in) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int64_t first_row = int64_t{blockIdx.x} * kRows * 8,
                first_output = int64_t{blockIdx.y} * kOutputs * 16;
  const auto* x = static_cast<const __nv_bfloat16*>(in.x);
  const auto* weights = static_cast<const __nv_bfloat16*>(in.weights);
  // Past the last row and output the last is read, and not written.
  const auto row_of = [&](int r) { return x + min(first_row + r * 8 + g, in.rows - 1) * in.inputs; };
  const auto weights_of = [&](int o, int half) {
    return weights + min(first_output + o * 16 + half * 8 + g, in.outputs - 1) * in.inputs;
  };

  float sums[kOutputs][kRows][4] = {};
  // `count` of the warp's chunks from `chunk` on: all loads are under way before the first is waited for.
  const auto add_chunks = [&]<int kCount>(int64_t chunk, bool whole, std::integral_constant<int, kCount>) {
    Part w[kCount][kOutputs][2] = {}, part[kCount][kRows] = {};
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const int64_t input = chunk + c * kStep + t * 8;
      if (!whole && input >= in.inputs) break;
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
        for (int half = 0; half < 2; ++half) w[c][o][half] = load_part(weights_of(o, half) + input);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) part[c][r] = load_part(row_of(r) + input);
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          const uint32_t a[4] = {w[c][o][0].of(i, 0), w[c][o][1].of(i, 0), w[c][o][0].of(i, 1),
                                 w[c][o][1].of(i, 1)};
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const uint32_t b[2] = {part[c][r].of(i, 0), part[c][r].of(i, 1)};
            add_mma(sums[o][r], a, b);
          }
        }
      }
    }
  };
  using One = std::integral_constant<int, 1>;
  using Several = std::integral_constant<int, kRows * kOutputs <= 2 ? 4 : 1>;
  int64_t chunk = warp * kChunk;
  for (; chunk + (Several::value - 1) * kStep + kChunk <= in.inputs; chunk += Several::value * kStep)
    add_chunks(chunk, true, Several());
  for (; chunk + kChunk <= in.inputs; chunk += kStep) add_chunks(chunk, true, One());
  if (chunk < in.inputs) add_chunks(chunk, false, One());

  // [rows of x][outputs], a warp after the other.
  __shared__ float all[kRows * 8][kOutputs * 16 + 1];
  for (int adding = 0; adding < kWarps; ++adding) {
    if (warp == adding) {
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float& sum = all[r * 8 + 2 * t + i % 2][o * 16 + i / 2 * 8 + g];
            sum = adding == 0 ? sums[o][r][i] : sum + sums[o][r][i];
          }
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < kRows * 8 * kOutputs * 16; i += kWarps * 32) {
    const int r = i / (kOutputs * 16), o = i % (kOutputs * 16);
    if (first_row + r >= in.rows || first_output + o >= in.outputs) continue;
    float* y = in.y + (first_row + r) * in.outputs + first_output + o;
    *y = in.add ? *y + all[r][o] : all[r][o];
  }
}

// Blocks of the same weights lie side by side in x, so that their loads meet in the cache.
template <int kOutputs, int kRows>
int product(const Product& in, DeviceStream stream) {
  const dim3 grid(static_cast<unsigned>((in.rows + kRows * 8 - 1) / (kRows * 8)),
                  static_cast<unsigned>((in.outputs + kOutputs * 16 - 1) / (kOutputs * 16)));
  return launch<product_kernel<kOutputs, kRows>>(grid, dim3(kWarps * 32), stream, in);
}

}  // namespace

// Tiles grow with the rows: a number that was loaded serves more.
int product_rows_bf16(const Product& in, DeviceStream stream) {
  if (in.rows <= 8) return product<1, 1>(in, stream);
  if (in.rows <= 16) return product<1, 2>(in, stream);
  if (in.rows <= 32) return product<2, 4>(in, stream);
  if (in.rows <= 128) return product<2, 8>(in, stream);
  return product<4, 8>(in, stream);
}

}  // namespace fulcrum::kernels::cuda
