#include "engine/kernels/packed_attention/op.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernels/exp/op.h"
#include "engine/kernels/reference_sum.h"

namespace fulcrum::kernels::reference {
namespace {

using Floats = std::vector<float>;

// One query: what it sees, its weights before the division, and their sum.
struct Query {
  std::vector<int64_t> keys;  // tokens
  Floats rotated, scores;
};

float sum_of(const Floats& x) {
  float sums[16] = {};
  for (size_t i = 0; i < x.size(); ++i) sums[i % 16] += x[i];
  return sum16(sums);
}

Floats rotated(const PackedRows& rows, const float* x, int64_t token, float sign) {
  const int64_t half = rows.head_dim / 2;
  Floats out(static_cast<size_t>(rows.head_dim));
  for (int64_t i = 0; i < half; ++i) {
    const float c = rows.cosines[token * half + i], s = sign * rows.sines[token * half + i];
    out[static_cast<size_t>(i)] = std::fma(x[i], c, -(x[half + i] * s));
    out[static_cast<size_t>(half + i)] = std::fma(x[half + i], c, x[i] * s);
  }
  return out;
}

float dot(const Floats& a, const float* b) {
  float sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum = std::fma(a[i], b[i], sum);
  return sum;
}

void add(float factor, const float* x, Floats& into) {
  for (size_t i = 0; i < into.size(); ++i) into[i] = std::fma(factor, x[i], into[i]);
}

class Head {
 public:
  Head(const PackedRows& rows, int64_t kv_head)
      : rows_(rows), kv_head_(kv_head), scale_(1.0f / std::sqrt(static_cast<float>(rows.head_dim))) {}

  const float* at(int64_t token, int64_t head) const {
    return rows_.qkv + token * rows_.columns() + head * rows_.head_dim;
  }
  Floats key(int64_t token) const { return rotated(rows_, at(token, rows_.heads + kv_head_), token, 1); }
  const float* value(int64_t token) const { return at(token, rows_.heads + rows_.kv_heads + kv_head_); }
  float scale() const { return scale_; }

  // f(query head, token, query) for every token of the group, in the order of the sums over queries.
  template <class F>
  void for_each(std::span<const TokenRange> group, F f) const {
    for (const TokenRange& segment : group) {
      const int64_t times = rows_.heads / rows_.kv_heads;
      for (int64_t head = kv_head_ * times; head < (kv_head_ + 1) * times; ++head) {
        for (int64_t token = segment.begin; token < segment.end; ++token) {
          Query q;
          if (segment.begin != group[0].begin)
            for (int64_t t = group[0].begin; t < group[0].end; ++t) q.keys.push_back(t);
          for (int64_t t = segment.begin; t <= token; ++t) q.keys.push_back(t);
          q.rotated = rotated(rows_, at(token, head), token, 1);
          for (const int64_t t : q.keys) q.scores.push_back(dot(q.rotated, key(t).data()));
          f(head, token, q);
        }
      }
    }
  }

 private:
  const PackedRows& rows_;
  int64_t kv_head_;
  float scale_;
};

}  // namespace

void packed_attention(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head, float* out,
                      float* lse) {
  const Head h(rows, kv_head);
  h.for_each(group, [&](int64_t head, int64_t token, const Query& q) {
    const float max = *std::max_element(q.scores.begin(), q.scores.end());
    Floats weights, sum(static_cast<size_t>(rows.head_dim));
    for (const float score : q.scores) weights.push_back(exp((score - max) * h.scale()));
    for (size_t i = 0; i < weights.size(); ++i) add(weights[i], h.value(q.keys[i]), sum);
    const float total = sum_of(weights);
    for (size_t i = 0; i < sum.size(); ++i)
      out[token * rows.out_columns() + head * rows.head_dim + static_cast<int64_t>(i)] = sum[i] / total;
    lse[token * rows.heads + head] = max * h.scale() + std::log(total);
  });
}

void packed_attention_backward(const PackedRows& rows, std::span<const TokenRange> group, int64_t kv_head,
                               const PackedGradient& g) {
  const Head h(rows, kv_head);
  int64_t last = 0;
  for (const TokenRange& s : group) last = std::max(last, s.end);
  const auto dim = static_cast<size_t>(rows.head_dim);
  std::vector<Floats> d_keys(static_cast<size_t>(last), Floats(dim)), d_values = d_keys;
  const auto write = [&](const Floats& x, int64_t token, int64_t column_head) {
    std::copy(x.begin(), x.end(), g.d_qkv + token * rows.columns() + column_head * rows.head_dim);
  };
  h.for_each(group, [&](int64_t head, int64_t token, const Query& q) {
    const int64_t column = token * rows.out_columns() + head * rows.head_dim;
    const float* d_out = g.d_out + column;
    Floats products(16), d_query(dim);
    for (size_t j = 0; j < dim; ++j)
      products[j % 16] = std::fma(d_out[j], g.out[column + static_cast<int64_t>(j)], products[j % 16]);
    const float mean = sum_of(products);
    for (size_t i = 0; i < q.keys.size(); ++i) {
      const float weight = exp(std::fma(q.scores[i], h.scale(), -g.lse[token * rows.heads + head]));
      const float slope = dot(Floats(d_out, d_out + dim), h.value(q.keys[i])) - mean;
      const float d_score = weight * slope * h.scale();
      const auto key = static_cast<size_t>(q.keys[i]);
      add(weight, d_out, d_values[key]);
      add(d_score, q.rotated.data(), d_keys[key]);
      add(d_score, h.key(q.keys[i]).data(), d_query);
    }
    write(rotated(rows, d_query.data(), token, -1), token, head);
  });
  for (const TokenRange& s : group) {
    for (int64_t token = s.begin; token < s.end; ++token) {
      const auto key = static_cast<size_t>(token);
      write(rotated(rows, d_keys[key].data(), token, -1), token, rows.heads + kv_head);
      write(d_values[key], token, rows.heads + rows.kv_heads + kv_head);
    }
  }
}

}  // namespace fulcrum::kernels::reference
