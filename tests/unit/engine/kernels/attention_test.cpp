#include "engine/kernels/attention/op.h"

#include <cmath>

#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

// A sequence of random keys and values, in pages and as plain arrays [position][kv_head][head_dim].
struct Sequence {
  Sequence(const AttentionShape& s, int64_t n)
      : shape(s),
        positions(n),
        keys(random_floats(n * s.kv_heads * s.head_dim, 1)),
        values(random_floats(n * s.kv_heads * s.head_dim, 2)),
        query(random_floats(s.heads * s.head_dim, 3)),
        scratch(attention_scratch(n)) {
    const int64_t width = s.kv_heads * s.head_dim;
    for (int64_t p = 0; p < n; ++p) {
      if (p % kPagePositions == 0) {
        storage.emplace_back(kOffset + s.page_floats());
        pages.push_back(storage.back().data());
      }
      store_key_value(s, keys.data() + p * width, values.data() + p * width, storage.back().data() + kOffset,
                      p % kPagePositions);
    }
  }
  AttentionInput input() { return {query.data(), pages.data(), kOffset, positions, scratch.data()}; }

  static constexpr int64_t kOffset = 32;
  AttentionShape shape;
  int64_t positions;
  AlignedFloats keys, values, query, scratch;
  std::vector<AlignedFloats> storage;
  std::vector<const float*> pages;
};

const AttentionShape kShapes[] = {{8, 4, 8, 0.35f}, {4, 4, 32, 0.18f}, {6, 2, 20, 0.2f}, {9, 3, 64, 0.125f}};

TEST(Attention, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const AttentionShape& shape : kShapes) {
    for (const int64_t positions : {1, 5, 16, 17, 64, 100, 147}) {
      Sequence s(shape, positions);
      std::vector<float> expected(static_cast<size_t>(shape.heads * shape.head_dim));
      reference::attention_row(shape, s.input(), expected.data());
      on_every_target([&] {
        std::vector<float> got(expected.size());
        attention_row(shape, s.input(), got.data());
        expect_same_bits(expected.data(), got.data(), static_cast<int64_t>(got.size()), "attention");
      });
    }
  }
}

TEST(Attention, IsTheFormulaInDouble) {
  for (const AttentionShape& shape : kShapes) {
    Sequence s(shape, 37);
    std::vector<float> got(static_cast<size_t>(shape.heads * shape.head_dim));
    attention_row(shape, s.input(), got.data());
    for (int64_t h = 0; h < shape.heads; ++h) {
      const int64_t kv = h / (shape.heads / shape.kv_heads);
      const auto at = [&](const AlignedFloats& x, int64_t p, int64_t i) {
        return double{x.data()[(p * shape.kv_heads + kv) * shape.head_dim + i]};
      };
      std::vector<double> weights;
      double sum = 0;
      for (int64_t p = 0; p < s.positions; ++p) {
        double score = 0;
        for (int64_t i = 0; i < shape.head_dim; ++i)
          score += s.query.data()[h * shape.head_dim + i] * at(s.keys, p, i);
        weights.push_back(std::exp(score * shape.scale));
        sum += weights.back();
      }
      for (int64_t i = 0; i < shape.head_dim; ++i) {
        double out = 0;
        for (int64_t p = 0; p < s.positions; ++p)
          out += weights[static_cast<size_t>(p)] / sum * at(s.values, p, i);
        EXPECT_NEAR(got[static_cast<size_t>(h * shape.head_dim + i)], out, 3e-6);
      }
    }
  }
}

}  // namespace
}  // namespace fulcrum::kernels
