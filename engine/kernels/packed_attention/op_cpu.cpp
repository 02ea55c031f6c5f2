#include "engine/kernels/packed_attention/op.h"

#include <algorithm>
#include <cmath>

#include "engine/kernels/aligned.h"
#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/packed_attention/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/block_matmul_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

inline constexpr int64_t kQueries = 48;  // in a block: a multiple of the product's rows

// A block in rows of a multiple of 16 floats.
struct Block {
  Block() = default;
  Block(int64_t rows, int64_t columns) : stride(round_up(columns, 16)), floats(rows * stride) {}
  float* row(int64_t i) { return floats.data() + i * stride; }
  const float* row(int64_t i) const { return floats.data() + i * stride; }
  int64_t rows() const { return stride == 0 ? 0 : floats.size() / stride; }

  int64_t stride = 0;
  AlignedFloats floats;
};

// No loops of the standard library in here: their instances would be of this instruction set for the whole
// program.
HWY_INLINE void Zero(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = 0;
}
HWY_INLINE void Copy(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i];
}

// x's row is padded, y's is not.
HWY_INLINE float Dot(const float* x, const float* y, int64_t n) {
  Chains sums;
  for (int64_t i = 0; i < n; i += 16) {
#pragma GCC unroll 16
    for (int64_t j = 0; j < kRowVectors; ++j) {
      const int64_t at = i + j * kLanes;
      sums.of[j] = Fma(hn::LoadU(Floats(), x + at), LoadPart(y + at, n - at), sums.of[j]);
    }
  }
  return sums.Total();
}

// (low, high) -> (low cos - high sin, high cos + low sin), as rope_row(); `sign` -1: the other way.
template <class D>
HWY_INLINE void RotatePair(D d, const float* low, const float* high, const float* cosines, const float* sines,
                           float sign, float* out_low, float* out_high) {
  const auto a = hn::LoadU(d, low), b = hn::LoadU(d, high), c = hn::LoadU(d, cosines);
  const auto s = hn::Mul(hn::Set(d, sign), hn::LoadU(d, sines));
  hn::StoreU(Fma(a, c, hn::Neg(hn::Mul(b, s))), d, out_low);
  hn::StoreU(Fma(b, c, hn::Mul(a, s)), d, out_high);
}

HWY_INLINE void Rotate(const float* x, const float* cosines, const float* sines, int64_t half, float sign,
                       float* y) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes)
    RotatePair(Floats(), x + i, x + half + i, cosines + i, sines + i, sign, y + i, y + half + i);
  for (; i < half; ++i)
    RotatePair(One(), x + i, x + half + i, cosines + i, sines + i, sign, y + i, y + half + i);
}

// Everything about one group and one key head. Keys are numbered through: the prompt's, then the completion's
// own, one completion after another in the same place.
class Group {
 public:
  Group(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head)
      : rows_(rows),
        group_(group),
        kv_head_(kv_head),
        prompt_(group[0].end - group[0].begin),
        scale_(1.0f / std::sqrt(static_cast<float>(rows.head_dim))) {
    int64_t longest = 0;
    for (const TokenRange& s : group.subspan(1)) longest = std::max(longest, s.end - s.begin);
    keys_ = prompt_ + longest;
    const int64_t block = std::min(kQueries, std::max(prompt_, longest));
    key_columns_ = Block(rows.head_dim, keys_);
    values_ = Block(keys_, rows.head_dim);
    queries_ = Block(block, rows.head_dim);
    weights_ = Block(block, keys_);
    sums_ = Block(block, rows.head_dim);
    rotated_ = AlignedFloats(rows.head_dim);
  }

  void Forward(float* out, float* lse) {
    ForEachBlock([&](int64_t head, int64_t first_token, int64_t count, int64_t first_key) {
      Scores(head, first_token, count, first_key);
      float total[kQueries];
      for (int64_t i = 0; i < count; ++i) {
        total[i] = Softmax(weights_.row(i), first_key + i + 1, first_key + count,
                           lse + (first_token + i) * rows_.heads + head);
      }
      BlockMatmul<Keys::kDepth>({weights_.row(0), weights_.stride, 1},
                                {count, rows_.head_dim, first_key + count, first_key}, values_.row(0),
                                values_.stride, false, sums_.row(0), sums_.stride);
      for (int64_t i = 0; i < count; ++i) {
        float* to = out + (first_token + i) * rows_.out_columns() + head * rows_.head_dim;
        for (int64_t j = 0; j < rows_.head_dim; ++j) to[j] = sums_.row(i)[j] / total[i];
      }
    });
  }

  void Backward(const PackedGradient& g) {
    key_rows_ = Block(keys_, rows_.head_dim);
    value_columns_ = Block(rows_.head_dim, keys_);
    d_keys_ = Block(keys_, rows_.head_dim);
    d_values_ = Block(keys_, rows_.head_dim);
    d_out_ = Block(queries_.rows(), rows_.head_dim);
    d_weights_ = Block(queries_.rows(), keys_);
    ForEachBlock([&](int64_t head, int64_t first_token, int64_t count,
                     int64_t first_key) { BlockBackward(g, head, first_token, count, first_key); },
                 [&](const TokenRange& segment) { WriteKeys(segment, prompt_, g.d_qkv); });
    WriteKeys(group_[0], 0, g.d_qkv);
  }

 private:
  int64_t times() const { return rows_.heads / rows_.kv_heads; }
  const float* Row(int64_t token) const { return rows_.qkv + token * rows_.columns(); }
  int64_t KeyColumn() const { return (rows_.heads + kv_head_) * rows_.head_dim; }
  int64_t ValueColumn() const { return KeyColumn() + rows_.kv_heads * rows_.head_dim; }

  void Rotated(const float* x, int64_t token, float sign, float* y) const {
    const int64_t half = rows_.head_dim / 2;
    Rotate(x, rows_.cosines + token * half, rows_.sines + token * half, half, sign, y);
  }

  // f(query head, first token, number of tokens, number of keys before the first token); `done` after each
  // completion.
  template <class F, class Done>
  void ForEachBlock(F f, Done done) {
    for (const TokenRange& segment : group_) {
      const bool completion = segment.begin != group_[0].begin;
      const int64_t before = completion ? prompt_ : 0, tokens = segment.end - segment.begin;
      for (int64_t i = 0; i < tokens; ++i) LoadKey(segment.begin + i, before + i);
      if (completion) ClearOwn();
      for (int64_t head = kv_head_ * times(); head < (kv_head_ + 1) * times(); ++head) {
        for (int64_t i = 0; i < tokens; i += kQueries)
          f(head, segment.begin + i, std::min(kQueries, tokens - i), before + i);
      }
      if (completion) done(segment);
    }
  }
  template <class F>
  void ForEachBlock(F f) {
    ForEachBlock(f, [](const TokenRange&) {});
  }

  void LoadKey(int64_t token, int64_t key) {
    const float* value = Row(token) + ValueColumn();
    float* rotated = rotated_.data();
    Rotated(Row(token) + KeyColumn(), token, 1, rotated);
    for (int64_t j = 0; j < rows_.head_dim; ++j) key_columns_.row(j)[key] = rotated[j];
    Copy(value, rows_.head_dim, values_.row(key));
    if (key_rows_.stride == 0) return;
    Copy(rotated, rows_.head_dim, key_rows_.row(key));
    for (int64_t j = 0; j < rows_.head_dim; ++j) value_columns_.row(j)[key] = value[j];
  }

  // The gradient of a completion's own keys begins at nothing.
  void ClearOwn() {
    if (key_rows_.stride == 0) return;
    Zero(d_keys_.row(prompt_), (keys_ - prompt_) * d_keys_.stride);
    Zero(d_values_.row(prompt_), (keys_ - prompt_) * d_values_.stride);
  }

  // Into weights_: the products of a block's rotated queries with all keys that its last query sees.
  void Scores(int64_t head, int64_t first_token, int64_t count, int64_t first_key) {
    for (int64_t i = 0; i < count; ++i)
      Rotated(Row(first_token + i) + head * rows_.head_dim, first_token + i, 1, queries_.row(i));
    BlockMatmul<Keys::kColumns>({queries_.row(0), queries_.stride, 1},
                                {count, first_key + count, rows_.head_dim, first_key}, key_columns_.row(0),
                                key_columns_.stride, false, weights_.row(0), weights_.stride);
  }

  // Scores become weights, 0 from the n-th to the `width`-th; returns their sum.
  float Softmax(float* scores, int64_t n, int64_t width, float* lse) const {
    const Weighed weighed = WeighScores(scores, n, scale_);
    const int64_t padded = round_up(n, 16);
    Zero(scores + padded, width - padded);
    *lse = weighed.max * scale_ + std::log(weighed.total);
    return weighed.total;
  }

  // With P = exp(scale S - lse), dP = dO V^T and D = sum dO O:  dS = scale P (dP - D),  dQ = dS K,
  // dK += dS^T Q,  dV += P^T dO.
  void BlockBackward(const PackedGradient& g, int64_t head, int64_t first_token, int64_t count,
                     int64_t first_key) {
    const int64_t dim = rows_.head_dim, keys = first_key + count;
    Scores(head, first_token, count, first_key);
    const auto column = [&](const float* x, int64_t i) {
      return x + (first_token + i) * rows_.out_columns() + head * dim;
    };
    for (int64_t i = 0; i < count; ++i) Copy(column(g.d_out, i), dim, d_out_.row(i));
    BlockMatmul<Keys::kColumns>({d_out_.row(0), d_out_.stride, 1}, {count, keys, dim, first_key},
                                value_columns_.row(0), value_columns_.stride, false, d_weights_.row(0),
                                d_weights_.stride);
    for (int64_t i = 0; i < count; ++i) {
      ScoreGradient(weights_.row(i), d_weights_.row(i), first_key + i + 1, keys,
                    g.lse[(first_token + i) * rows_.heads + head], Dot(d_out_.row(i), column(g.out, i), dim));
    }
    BlockMatmul<Keys::kRows>({weights_.row(0), 1, weights_.stride}, {keys, dim, count, first_key},
                             d_out_.row(0), d_out_.stride, true, d_values_.row(0), d_values_.stride);
    BlockMatmul<Keys::kRows>({d_weights_.row(0), 1, d_weights_.stride}, {keys, dim, count, first_key},
                             queries_.row(0), queries_.stride, true, d_keys_.row(0), d_keys_.stride);
    BlockMatmul<Keys::kDepth>({d_weights_.row(0), d_weights_.stride, 1}, {count, dim, keys, first_key},
                              key_rows_.row(0), key_rows_.stride, false, sums_.row(0), sums_.stride);
    for (int64_t i = 0; i < count; ++i)
      Rotated(sums_.row(i), first_token + i, -1, g.d_qkv + (first_token + i) * rows_.columns() + head * dim);
  }

  // Scores become weights and d_weights the gradient of the scores; both 0 from the n-th to the `width`-th.
  void ScoreGradient(float* scores, float* d_weights, int64_t n, int64_t width, float lse, float mean) const {
    const Floats d;
    const Vector scales = hn::Set(d, scale_), shift = hn::Set(d, -lse), means = hn::Set(d, mean);
    for (int64_t i = 0; i < n; i += kLanes) {
      const Vector weight = Exp(d, Fma(hn::LoadU(d, scores + i), scales, shift));
      const Vector slope = hn::Sub(hn::LoadU(d, d_weights + i), means);
      hn::StoreU(weight, d, scores + i);
      hn::StoreU(hn::Mul(hn::Mul(weight, slope), scales), d, d_weights + i);
    }
    Zero(scores + n, width - n);
    Zero(d_weights + n, width - n);
  }

  void WriteKeys(const TokenRange& segment, int64_t first_key, float* d_qkv) const {
    for (int64_t token = segment.begin; token < segment.end; ++token) {
      const int64_t key = first_key + token - segment.begin;
      float* to = d_qkv + token * rows_.columns();
      Rotated(d_keys_.row(key), token, -1, to + KeyColumn());
      Copy(d_values_.row(key), rows_.head_dim, to + ValueColumn());
    }
  }

  const PackedRows& rows_;
  std::span<const TokenRange> group_;
  int64_t kv_head_, prompt_, keys_ = 0;
  float scale_;
  Block key_columns_, values_;      // rotated K^T and V
  Block key_rows_, value_columns_;  // for the backward pass: K and V^T
  Block queries_, weights_, sums_;  // of a block of queries
  Block d_out_, d_weights_, d_keys_, d_values_;
  AlignedFloats rotated_;
};

void PackedAttention(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head, float* out,
                     float* lse) {
  Group(rows, group, kv_head).Forward(out, lse);
}

void PackedAttentionBackward(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head,
                             const PackedGradient& gradient) {
  Group(rows, group, kv_head).Backward(gradient);
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(PackedAttention);
HWY_EXPORT(PackedAttentionBackward);
void packed_attention(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head, float* out,
                      float* lse) {
  HWY_DYNAMIC_DISPATCH(PackedAttention)(rows, group, kv_head, out, lse);
}
void packed_attention_backward(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head,
                               const PackedGradient& gradient) {
  HWY_DYNAMIC_DISPATCH(PackedAttentionBackward)(rows, group, kv_head, gradient);
}

}  // namespace fulcrum::kernels
#endif
