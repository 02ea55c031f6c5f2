#include "engine/kernels/attention/op.h"

#include <algorithm>

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/attention/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

// Query heads that read the same keys and values go together by twos where there are registers for it
// (AVX-512), so that each number that comes from the memory serves both.
inline constexpr int kMostHeads = kLanes == 16 ? 2 : 1;

struct Heads {
  const float* query;  // of the first; the next stands head_dim behind it
  int64_t head_dim;
  int64_t keys, values;  // where theirs begin in a page
  int64_t value_stride;
  float* scores;  // of the first; the next one's stand scratch behind them
  int64_t scratch;
};

// Scores of kPages pages at once: their chains are independent, so they hide the latency of one another. The
// values of these pages come next and are asked for meanwhile, a line a step, where a step leaves room for
// it.
template <int kHeads, int kPages>
HWY_INLINE void ScorePages(const Heads& h, const float* const* pages, int64_t first) {
  const Floats d;
  Vector chains[kHeads][kPages][kRowVectors];
  const float *keys[kPages], *values[kPages];
#pragma GCC unroll 4
  for (int p = 0; p < kPages; ++p) {
    keys[p] = pages[p] + h.keys;
    values[p] = pages[p] + h.values;
#pragma GCC unroll 2
    for (int n = 0; n < kHeads; ++n) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) chains[n][p][j] = hn::Zero(d);
    }
  }
  for (int64_t i = 0; i < h.head_dim; ++i) {
    Vector q[kHeads];
#pragma GCC unroll 2
    for (int n = 0; n < kHeads; ++n) q[n] = hn::Set(d, h.query[n * h.head_dim + i]);
#pragma GCC unroll 4
    for (int p = 0; p < kPages; ++p) {
      if (kLanes == 16) __builtin_prefetch(values[p] + i * kPagePositions);
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) {
        const Vector key = hn::Load(d, keys[p] + i * kPagePositions + j * kLanes);
#pragma GCC unroll 2
        for (int n = 0; n < kHeads; ++n) chains[n][p][j] = Fma(q[n], key, chains[n][p][j]);
      }
    }
  }
#pragma GCC unroll 2
  for (int n = 0; n < kHeads; ++n) {
    float* scores = h.scores + n * h.scratch + first * kPagePositions;
#pragma GCC unroll 4
    for (int p = 0; p < kPages; ++p) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j)
        hn::StoreU(chains[n][p][j], d, scores + p * kPagePositions + j * kLanes);
    }
  }
}

template <int kHeads>
HWY_INLINE void Scores(const Heads& h, const AttentionInput& in) {
  const int64_t pages = (in.positions + kPagePositions - 1) / kPagePositions;
  int64_t p = 0;
  for (; p + 4 <= pages; p += 4) ScorePages<kHeads, 4>(h, in.pages + p, p);
  for (; p < pages; ++p) ScorePages<kHeads, 1>(h, in.pages + p, p);
}

// Sixteen dimensions of the outputs, from `column` on: four chains over positions.
template <int kHeads>
HWY_INLINE void Mix(const Heads& h, const AttentionInput& in, int64_t column, const float* sums,
                    float* output) {
  const Floats d;
  Vector chains[kHeads][4][kRowVectors];
#pragma GCC unroll 2
  for (int n = 0; n < kHeads; ++n) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
#pragma GCC unroll 16
      for (int j = 0; j < kRowVectors; ++j) chains[n][c][j] = hn::Zero(d);
    }
  }
  const int64_t pages = (in.positions + kPagePositions - 1) / kPagePositions;
  const float* weight = h.scores;
  for (int64_t p = 0; p < pages; ++p) {
    const float* values = in.pages[p] + h.values + column;
    for (int64_t slot = 0; slot < kPagePositions; slot += 4, weight += 4, values += 4 * h.value_stride) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        Vector w[kHeads];
#pragma GCC unroll 2
        for (int n = 0; n < kHeads; ++n) w[n] = hn::Set(d, weight[n * h.scratch + c]);
#pragma GCC unroll 16
        for (int j = 0; j < kRowVectors; ++j) {
          const Vector value = hn::Load(d, values + c * h.value_stride + j * kLanes);
#pragma GCC unroll 2
          for (int n = 0; n < kHeads; ++n) chains[n][c][j] = Fma(w[n], value, chains[n][c][j]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int n = 0; n < kHeads; ++n) {
    const Vector sum = hn::Set(d, sums[n]);
#pragma GCC unroll 16
    for (int j = 0; j < kRowVectors; ++j) {
      const Vector total =
          hn::Add(hn::Add(chains[n][0][j], chains[n][1][j]), hn::Add(chains[n][2][j], chains[n][3][j]));
      hn::StoreU(hn::Div(total, sum), d, output + 16 * n + j * kLanes);
    }
  }
}

template <int kHeads>
HWY_INLINE void AttendHeads(const Heads& h, const AttentionInput& in, float scale, float* output) {
  Scores<kHeads>(h, in);
  float sums[kHeads];
  for (int n = 0; n < kHeads; ++n) sums[n] = WeighScores(h.scores + n * h.scratch, in.positions, scale).total;
  for (int64_t i = 0; i < h.head_dim; i += 16) {
    float part[kHeads * 16];
    Mix<kHeads>(h, in, i, sums, part);
    for (int n = 0; n < kHeads; ++n) {
      const int64_t width = std::min<int64_t>(16, h.head_dim - i);
      std::copy_n(part + 16 * n, width, output + n * h.head_dim + i);
    }
  }
}

void AttentionRow(const AttentionShape& shape, const AttentionInput& in, float* output) {
  const int64_t stride = shape.value_stride(), group = shape.heads / shape.kv_heads;
  const int64_t values = in.page_offset + shape.kv_heads * shape.head_dim * kPagePositions;
  for (int64_t kv = 0; kv < shape.kv_heads; ++kv) {
    for (int64_t first = 0; first < group; first += kMostHeads) {
      const int64_t begin = (kv * group + first) * shape.head_dim;
      const Heads h{.query = in.query + begin,
                    .head_dim = shape.head_dim,
                    .keys = in.page_offset + kv * shape.head_dim * kPagePositions,
                    .values = values + kv * kPagePositions * stride,
                    .value_stride = stride,
                    .scores = in.scratch,
                    .scratch = attention_scratch(in.positions) / 2};
      if (first + kMostHeads <= group) {
        AttendHeads<kMostHeads>(h, in, shape.scale, output + begin);
      } else {
        AttendHeads<1>(h, in, shape.scale, output + begin);
      }
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
