#include "engine/kernels/attention/op.h"

#include <algorithm>
#include <limits>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/attention/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

// Scores of kPages pages at once: their chains are independent, so they hide the latency of one another.
template <int kPages>
HWY_INLINE void ScorePages(const float* query, int64_t head_dim, const float* const* pages,
                           int64_t key_offset, float* scores) {
  const Floats d;
  Vector chains[kPages][kRowVectors];
  const float* keys[kPages];
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
    keys[p] = pages[p] + key_offset;
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) chains[p][j] = hn::Zero(d);
  }
  for (int64_t i = 0; i < head_dim; ++i) {
    const Vector q = hn::Set(d, query[i]);
#pragma GCC unroll 4
    for (int p = 0; p < kPages; ++p) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) {
        chains[p][j] = Fma(q, hn::Load(d, keys[p] + i * kPagePositions + j * kLanes), chains[p][j]);
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j)
      hn::StoreU(chains[p][j], d, scores + p * kPagePositions + j * kLanes);
  }
}

HWY_INLINE void Scores(const float* query, int64_t head_dim, const AttentionInput& in, int64_t key_offset) {
  const int64_t pages = (in.positions + kPagePositions - 1) / kPagePositions;
  int64_t p = 0;
  for (; p + 4 <= pages; p += 4) {
    ScorePages<4>(query, head_dim, in.pages + p, key_offset, in.scratch + p * kPagePositions);
  }
  for (; p < pages; ++p)
    ScorePages<1>(query, head_dim, in.pages + p, key_offset, in.scratch + p * kPagePositions);
}

// Scores become weights e^((score - max) * scale), 0 past the last position; returns their sum.
HWY_INLINE float Weights(float* scores, int64_t positions, float scale) {
  const Floats d;
  const int64_t padded = attention_scratch(positions);
  for (int64_t i = positions; i < padded; ++i) scores[i] = -std::numeric_limits<float>::infinity();
  Vector largest = hn::LoadU(d, scores);
  for (int64_t i = kLanes; i < padded; i += kLanes) largest = AtLeast(largest, hn::LoadU(d, scores + i));
  float lanes[kLanes];
  hn::StoreU(largest, d, lanes);
  float max = lanes[0];
  for (int j = 1; j < kLanes; ++j) max = max < lanes[j] ? lanes[j] : max;

  const Vector maxes = hn::Set(d, max), scales = hn::Set(d, scale);
  Vector chains[kRowVectors];
#pragma GCC unroll 16
  for (int j = 0; j < kRowVectors; ++j) chains[j] = hn::Zero(d);
  for (int64_t i = 0; i < padded; i += 16) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      float* at = scores + i + j * kLanes;
      const Vector weight = Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, at), maxes), scales));
      hn::StoreU(weight, d, at);
      chains[j] = hn::Add(chains[j], weight);
    }
  }
  float sums[16];
  for (int j = 0; j < kRowVectors; ++j) hn::StoreU(chains[j], d, sums + j * kLanes);
  return Sum16(sums);
}

// Sixteen dimensions of the output: four chains over positions.
HWY_INLINE void Mix(const AttentionInput& in, int64_t value_offset, int64_t stride, float sum,
                    float* output) {
  const Floats d;
  Vector chains[4][kRowVectors];
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) chains[c][j] = hn::Zero(d);
  }
  const int64_t pages = (in.positions + kPagePositions - 1) / kPagePositions;
  const float* weight = in.scratch;
  for (int64_t p = 0; p < pages; ++p) {
    const float* values = in.pages[p] + value_offset;
    for (int64_t slot = 0; slot < kPagePositions; slot += 4, weight += 4, values += 4 * stride) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        const Vector w = hn::Set(d, weight[c]);
#pragma GCC unroll 16
        for (int j = 0; j < kRowVectors; ++j) {
          chains[c][j] = Fma(w, hn::Load(d, values + c * stride + j * kLanes), chains[c][j]);
        }
      }
    }
  }
  const Vector sums = hn::Set(d, sum);
#pragma GCC unroll 16
  for (int j = 0; j < kRowVectors; ++j) {
    const Vector total = hn::Add(hn::Add(chains[0][j], chains[1][j]), hn::Add(chains[2][j], chains[3][j]));
    hn::StoreU(hn::Div(total, sums), d, output + j * kLanes);
  }
}

void AttentionRow(const AttentionShape& shape, const AttentionInput& in, float* output) {
  const int64_t stride = shape.value_stride(), group = shape.heads / shape.kv_heads;
  const int64_t values = in.page_offset + shape.kv_heads * shape.head_dim * kPagePositions;
  for (int64_t h = 0; h < shape.heads; ++h) {
    const int64_t kv = h / group;
    Scores(in.query + h * shape.head_dim, shape.head_dim, in,
           in.page_offset + kv * shape.head_dim * kPagePositions);
    const float sum = Weights(in.scratch, in.positions, shape.scale);
    float* out = output + h * shape.head_dim;
    for (int64_t i = 0; i < shape.head_dim; i += 16) {
      float part[16];
      Mix(in, values + kv * kPagePositions * stride + i, stride, sum, part);
      for (int64_t j = 0; j < std::min<int64_t>(16, shape.head_dim - i); ++j) out[i + j] = part[j];
    }
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(AttentionRow);
void attention_row(const AttentionShape& shape, const AttentionInput& in, float* output) {
  HWY_DYNAMIC_DISPATCH(AttentionRow)(shape, in, output);
}

}  // namespace fulcrum::kernels
#endif
