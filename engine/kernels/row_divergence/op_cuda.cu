#include <cmath>

#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"
#include "engine/kernels/row_divergence/terms.cuh"

namespace fulcrum::kernels::cuda {
namespace {

// Registers are bounded so that two blocks share a multiprocessor: what the double part spills is spilled on
// its rare rows alone.
#define FULCRUM_DIVERGENCE_BLOCK __launch_bounds__(kLargestBlock, 2)

// Probability 0 under both, as the padding of a vocabulary.
template <class T>
__device__ __forceinline__ bool nowhere(T log_pi, T log_p) {
  return log_pi == -INFINITY && log_p == -INFINITY;
}

// One row: every thread has its share of the tokens.
template <class G>
class Row {
 public:
  __device__ __forceinline__ Row(const DivergenceRows& in, int64_t row, const FarTerms<G>& far)
      : policy_(in.policy + row * in.n),
        reference_(in.reference + row * in.n),
        n_(in.n),
        vector_(by_fours(policy_) && by_fours(reference_)),
        policy_lse_(in.policy_lse[row]),
        reference_lse_(in.reference_lse[row]),
        near_{far.g},
        far_(far) {}

  // The sum over the row of p f(u) or (kSlopes) of p u f'(u). `near`: in fp32, if it may be; afterwards,
  // whether it was. The same in all threads.
  template <bool kSlopes>
  __device__ __forceinline__ double sum(bool& near) const {
    if (near) {
      bool all_near = true;
      double total = 0;
      const Shift policy(policy_lse_), reference(reference_lse_);
      for_quads({policy_, reference_}, 0, n_, vector_, -INFINITY, [&](int64_t, const Quad(&q)[2]) {
        float four = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float log_pi = policy(q[0].of[j]), log_p = reference(q[1].of[j]), l = log_pi - log_p;
          const bool skipped = nowhere(log_pi, log_p);
          all_near = all_near && (skipped || fabsf(l) < kNear);
          const float term = kSlopes ? near_.slope(log_p, l) : near_.value(log_p, l);
          four += skipped ? 0 : term;
        }
        total += four;
      });
      total = block_sum(total);
      near = __syncthreads_and(all_near) && isfinite(total);
      if (near) return total;
    }
    double total = 0;
    for (int64_t i = threadIdx.x; i < n_; i += blockDim.x) {
      const double log_pi = policy_[i] - policy_lse_, log_p = reference_[i] - reference_lse_;
      if (nowhere(log_pi, log_p)) continue;
      total += kSlopes ? far_.slope(log_pi, log_p) : far_.value(log_pi, log_p);
    }
    return block_sum(total);
  }

  // d_logp (onehot(id) - pi) + d_divergence (p u f'(u) - pi sum), over the policy's logits.
  __device__ __forceinline__ void write_near(double sum, float d_logp, float d_divergence, int64_t id) const {
    const Shift policy(policy_lse_), reference(reference_lse_);
    const auto mean = static_cast<float>(sum);
    for_quads({policy_, reference_}, 0, n_, vector_, -INFINITY, [&](int64_t at, const Quad(&q)[2]) {
      Quad out;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float log_pi = policy(q[0].of[j]), log_p = reference(q[1].of[j]), pi = expf(log_pi);
        const float slope = near_.slope(log_p, log_pi - log_p) - pi * mean;
        const float both = nowhere(log_pi, log_p) ? 0 : fmaf(slope, d_divergence, pi * -d_logp);
        out.of[j] = at + j == id ? both + d_logp : both;
      }
      store_quad(policy_, at, n_, vector_, out);
    });
  }
  __device__ __forceinline__ void write_far(double sum, float d_logp, float d_divergence, int64_t id) const {
    for (int64_t i = threadIdx.x; i < n_; i += blockDim.x) {
      const double log_pi = policy_[i] - policy_lse_, log_p = reference_[i] - reference_lse_;
      const double pi = exp(log_pi);
      double both = static_cast<double>(d_logp) * ((i == id ? 1 : 0) - pi);
      if (d_divergence != 0 && !nowhere(log_pi, log_p))
        both += static_cast<double>(d_divergence) * (far_.slope(log_pi, log_p) - pi * sum);
      policy_[i] = static_cast<float>(both);
    }
  }

 private:
  float* policy_;
  const float* reference_;
  int64_t n_;
  bool vector_;
  double policy_lse_, reference_lse_;
  NearTerms<G> near_;
  FarTerms<G> far_;
};

template <class G>
__global__ void FULCRUM_DIVERGENCE_BLOCK divergence_rows(DivergenceRows in, FarTerms<G> far,
                                                         bool near_allowed, float* out) {
  for (int64_t row = blockIdx.x; row < in.rows; row += gridDim.x) {
    bool near = near_allowed;
    const double value = Row<G>(in, row, far).template sum<false>(near);
    if (threadIdx.x == 0) out[row] = static_cast<float>(value);
  }
}

template <class G>
__global__ void FULCRUM_DIVERGENCE_BLOCK divergence_gradient_rows(DivergenceRows in, FarTerms<G> far,
                                                                  bool near_allowed, const float* d_logps,
                                                                  const float* d_divergences,
                                                                  const int64_t* ids) {
  for (int64_t row = blockIdx.x; row < in.rows; row += gridDim.x) {
    const Row<G> work(in, row, far);
    bool near = near_allowed;
    const double sum = work.template sum<true>(near);
    if (near) {
      work.write_near(sum, d_logps[row], d_divergences[row], ids[row]);
    } else {
      work.write_far(sum, d_logps[row], d_divergences[row], ids[row]);
    }
  }
}

template <class G>
FarTerms<G> far_terms(const G& g) {
  return {g, g.facts().slope_at_infinity};
}

bool near_allowed(const DivergenceRows& in) { return std::abs(in.options.alpha) <= kLargestAlpha; }

}  // namespace

int divergences(const DivergenceRows& in, float* out, DeviceStream stream) {
  return with_generator(in, [&](const auto& g) {
    return launch<divergence_rows<std::decay_t<decltype(g)>>>(row_blocks(in.rows), row_threads(in.n), stream,
                                                              in, far_terms(g), near_allowed(in), out);
  });
}

int divergence_gradients(const DivergenceRows& in, const float* d_logps, const float* d_divergences,
                         const int64_t* ids, DeviceStream stream) {
  return with_generator(in, [&](const auto& g) {
    return launch<divergence_gradient_rows<std::decay_t<decltype(g)>>>(
        row_blocks(in.rows), row_threads(in.n), stream, in, far_terms(g), near_allowed(in), d_logps,
        d_divergences, ids);
  });
}

}  // namespace fulcrum::kernels::cuda
