#include "engine/kernels/packed_attention/op.h"

#include <cmath>
#include <functional>

#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim;
};
const Shape kShapes[] = {{4, 2, 32}, {8, 8, 8}, {6, 2, 20}, {2, 1, 64}};

// A prompt of 21 tokens and completions of 1, 70 and 17, after 5 tokens that belong to nobody.
const std::vector<TokenRange> kGroup{{5, 26}, {26, 27}, {27, 97}, {97, 114}};
constexpr int64_t kTokens = 114;

struct Case {
  explicit Case(const Shape& s)
      : qkv(random_floats(kTokens * (s.heads + 2 * s.kv_heads) * s.head_dim, 1)),
        cosines(kTokens * s.head_dim / 2),
        sines(kTokens * s.head_dim / 2),
        d_out(random_floats(kTokens * s.heads * s.head_dim, 2)) {
    const int64_t half = s.head_dim / 2;
    for (int64_t i = 0; i < kTokens * half; ++i) {
      const double angle = static_cast<double>(i / half) / std::pow(10.0, i % half);
      cosines.data()[i] = static_cast<float>(std::cos(angle));
      sines.data()[i] = static_cast<float>(std::sin(angle));
    }
    rows = {s.heads, s.kv_heads, s.head_dim, qkv.data(), cosines.data(), sines.data()};
  }
  AlignedFloats qkv, cosines, sines, d_out;
  PackedRows rows;
};

struct Results {
  explicit Results(const PackedRows& rows)
      : out(kTokens * rows.out_columns()), lse(kTokens * rows.heads), d_qkv(kTokens * rows.columns()) {}
  AlignedFloats out, lse, d_qkv;
};

Results run(const Case& c, decltype(packed_attention)* forward,
            decltype(packed_attention_backward)* backward) {
  Results r(c.rows);
  for (int64_t kv = 0; kv < c.rows.kv_heads; ++kv) {
    forward(c.rows, kGroup, kv, r.out.data(), r.lse.data());
    backward(c.rows, kGroup, kv, {r.out.data(), r.lse.data(), c.d_out.data(), r.d_qkv.data()});
  }
  return r;
}

TEST(PackedAttention, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const Shape& shape : kShapes) {
    const Case c(shape);
    const Results expected = run(c, reference::packed_attention, reference::packed_attention_backward);
    on_every_target([&] {
      const Results got = run(c, packed_attention, packed_attention_backward);
      expect_same_bits(expected.out.data(), got.out.data(), got.out.size(), "out");
      expect_same_bits(expected.lse.data(), got.lse.data(), got.lse.size(), "lse");
      expect_same_bits(expected.d_qkv.data(), got.d_qkv.data(), got.d_qkv.size(), "d_qkv");
    });
  }
}

TEST(PackedAttention, ACompletionsBitsDoNotDependOnItsSiblings) {
  const Case c(kShapes[0]);
  const Results all = run(c, packed_attention, packed_attention_backward);
  const std::vector<TokenRange> alone{kGroup[0], kGroup[2]};
  Results one(c.rows);
  for (int64_t kv = 0; kv < c.rows.kv_heads; ++kv)
    packed_attention(c.rows, alone, kv, one.out.data(), one.lse.data());
  const int64_t begin = kGroup[2].begin * c.rows.out_columns();
  expect_same_bits(all.out.data() + begin, one.out.data() + begin, 70 * c.rows.out_columns(), "out");
}

// Attention of one head in double, straight from the formula; the sum of d_out * out over the group.
class InDouble {
 public:
  InDouble(const Case& c) : c_(c) {}

  double out(int64_t head, int64_t token, int64_t column, const std::vector<double>& qkv) const {
    const PackedRows& r = c_.rows;
    const int64_t kv = head / (r.heads / r.kv_heads);
    std::vector<int64_t> keys;
    for (const TokenRange& s : kGroup) {
      if (token < s.begin || token >= s.end) continue;
      if (s.begin != kGroup[0].begin)
        for (int64_t t = kGroup[0].begin; t < kGroup[0].end; ++t) keys.push_back(t);
      for (int64_t t = s.begin; t <= token; ++t) keys.push_back(t);
    }
    double sum = 0, out = 0;
    for (const int64_t key : keys) {
      double score = 0;
      for (int64_t i = 0; i < r.head_dim; ++i)
        score += rotated(qkv, token, head, i) * rotated(qkv, key, r.heads + kv, i);
      const double weight = std::exp(score / std::sqrt(static_cast<double>(r.head_dim)));
      sum += weight;
      out += weight * qkv[index(key, r.heads + r.kv_heads + kv, column)];
    }
    return out / sum;
  }

  size_t index(int64_t token, int64_t head, int64_t i) const {
    return static_cast<size_t>(token * c_.rows.columns() + head * c_.rows.head_dim + i);
  }

 private:
  double rotated(const std::vector<double>& qkv, int64_t token, int64_t head, int64_t i) const {
    const int64_t half = c_.rows.head_dim / 2, pair = i % half;
    const double low = qkv[index(token, head, pair)], high = qkv[index(token, head, half + pair)];
    const double cosine = c_.cosines.data()[token * half + pair], sine = c_.sines.data()[token * half + pair];
    return i < half ? low * cosine - high * sine : high * cosine + low * sine;
  }

  const Case& c_;
};

TEST(PackedAttention, IsTheFormulaInDouble) {
  const Case c(kShapes[2]);
  const std::vector<double> qkv(c.qkv.data(), c.qkv.data() + c.qkv.size());
  const Results got = run(c, packed_attention, packed_attention_backward);
  for (const int64_t token : {5, 25, 26, 27, 60, 96, 113}) {
    for (const int64_t head : {0, 4}) {
      for (const int64_t column : {0, 19}) {
        EXPECT_NEAR(got.out.data()[token * c.rows.out_columns() + head * c.rows.head_dim + column],
                    InDouble(c).out(head, token, column, qkv), 5e-6);
      }
    }
  }
}

TEST(PackedAttention, TheGradientIsThatOfTheFormula) {
  const Case c(kShapes[2]);
  const PackedRows& r = c.rows;
  const Results got = run(c, packed_attention, packed_attention_backward);
  const std::vector<double> qkv(c.qkv.data(), c.qkv.data() + c.qkv.size());
  const InDouble exact(c);
  const auto loss = [&](const std::vector<double>& x) {
    double sum = 0;
    for (int64_t token = 5; token < kTokens; ++token) {
      for (int64_t i = 0; i < r.out_columns(); i += 7)
        sum +=
            c.d_out.data()[token * r.out_columns() + i] * exact.out(i / r.head_dim, token, i % r.head_dim, x);
    }
    return sum;
  };
  // Only every seventh column counts in the formula: so must it in the gradient.
  Case sparse(kShapes[2]);
  for (int64_t i = 0; i < sparse.d_out.size(); ++i) {
    if (i % r.out_columns() % 7 != 0) sparse.d_out.data()[i] = 0;
  }
  const Results gradient = run(sparse, packed_attention, packed_attention_backward);
  for (const auto& [token, head, i] : {std::tuple<int64_t, int64_t, int64_t>{40, 3, 2},
                                       {40, 3, 12},
                                       {8, 6, 5},
                                       {8, 7, 15},
                                       {8, 8, 4},
                                       {50, 9, 14},
                                       {113, 0, 0}}) {
    std::vector<double> up = qkv, down = qkv;
    up[exact.index(token, head, i)] += 1e-4;
    down[exact.index(token, head, i)] -= 1e-4;
    EXPECT_NEAR(gradient.d_qkv.data()[exact.index(token, head, i)], (loss(up) - loss(down)) / 2e-4, 3e-5)
        << "token " << token << ", head " << head << ", dimension " << i;
  }
}

}  // namespace
}  // namespace fulcrum::kernels
