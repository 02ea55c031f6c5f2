// AdamW (op.h has the formula) over all tensors that are trained together, in one launch: fp32 weights,
// gradients and moments, 28 bytes a weight, and 2 for the copy rounded to bf16 (to nearest, ties to even)
// that products read; 4 where that is kept in fp32. How far the gradients are clipped is computed here from
// their norm, so that the host need not wait for it.
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/trained.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// As clip_factor() of the learner; the float that the host would hand over.
struct Scale {
  float of_gradients;
  bool steps;
};
__device__ __forceinline__ Scale scale_of(const Clip& clip) {
  bool finite = true, zero = true;
  for (int64_t i = 0; i < clip.count; ++i) {
    finite = finite && clip.norms[i] * 0 == 0;
    zero = zero && clip.norms[i] == 0;
  }
  const double factor = clip.most / (clip.norms[clip.own] + 1e-6);
  return {static_cast<float>(clip.most > 0 && factor < 1 ? factor : 1), finite && !zero};
}

__device__ __forceinline__ void store_rounded(const TrainedTensor& t, int64_t at, int64_t end,
                                              const Quad& w) {
  if (t.rounded == nullptr) return;
  if (t.rounded_as == ActivationType::kBf16) {
    auto* const y = static_cast<__nv_bfloat16*>(t.rounded);
    return store_quad(y, at, end, by_fours(y), w);
  }
  Quad rounded;
#pragma unroll
  for (int j = 0; j < 4; ++j) rounded.of[j] = __bfloat162float(__float2bfloat16_rn(w.of[j]));
  auto* const y = static_cast<float*>(t.rounded);
  store_quad(y, at, end, by_fours(y), rounded);
}

// A block a piece, a thread four numbers of it at a time.
__global__ void __launch_bounds__(kItemThreads) adamw_pieces(TrainedList list, AdamwStep step, Clip clip) {
  const Scale scale = scale_of(clip);
  if (!scale.steps) return;
  for_pieces(list, [&](const TrainedTensor& t, int64_t begin, int64_t end, int64_t) {
    const bool vector =
        by_fours(t.gradient) && by_fours(t.weights) && by_fours(t.first) && by_fours(t.second);
    const float kept = t.decays != 0 ? step.kept : 1.0f;
    for (int64_t at = begin + int64_t{threadIdx.x} * 4; at < end; at += int64_t{blockDim.x} * 4) {
      const Quad gradients = t.gradient != nullptr ? load_quad(t.gradient, at, end, vector) : Quad{};
      Quad w = load_quad(t.weights, at, end, vector), m = load_quad(t.first, at, end, vector);
      Quad v = load_quad(t.second, at, end, vector);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float g = __fmul_rn(scale.of_gradients, gradients.of[j]);
        m.of[j] = fmaf(step.beta1, m.of[j], __fmul_rn(1 - step.beta1, g));
        v.of[j] = fmaf(step.beta2, v.of[j], __fmul_rn(__fmul_rn(1 - step.beta2, g), g));
        const float slope = m.of[j] / __fadd_rn(sqrtf(v.of[j]) / step.root, step.epsilon);
        w.of[j] = fmaf(-step.rate, slope, __fmul_rn(kept, w.of[j]));
      }
      store_quad(t.weights, at, end, vector, w);
      store_quad(t.first, at, end, vector, m);
      store_quad(t.second, at, end, vector, v);
      store_rounded(t, at, end, w);
    }
  });
}

}  // namespace

int adamw(const TrainedList& list, const AdamwStep& step, const Clip& clip, DeviceStream stream) {
  return launch<adamw_pieces>(row_blocks(list.pieces), kItemThreads, stream, list, step, clip);
}

}  // namespace fulcrum::kernels::cuda
