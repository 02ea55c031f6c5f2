#include "engine/kernels/matmul_bf16/op.h"

#include <cmath>
#include <functional>
#include <limits>

#include "engine/core/half.h"
#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

struct Problem {
  int64_t outputs, inputs;
};
const Problem kProblems[] = {{64, 64},   {16, 8},  {130, 129}, {344, 128},
                             {128, 344}, {1, 301}, {65, 1},    {70, 1025}};

PackedBf16Matrix packed(const Problem& p, const AlignedFloats& weights) {
  PackedBf16Matrix w(p.outputs, p.inputs);
  w.set_outputs(0, p.outputs, weights.data());
  return w;
}

// Rows of x, rounded.
struct Rounded {
  Rounded(const AlignedFloats& x, int64_t rows, int64_t inputs)
      : stride(round_up(inputs, 2)), bits(rows * stride) {
    for (int64_t r = 0; r < rows; ++r)
      round_row_to_bf16(x.data() + r * inputs, inputs, bits.data() + r * stride);
  }
  int64_t stride;
  Aligned<uint16_t> bits;
};

using Way = std::function<void(const uint16_t*, int64_t, int64_t, const PackedBf16Matrix&, float*, int64_t,
                               PanelRange)>;

// Each way the product may go on this machine.
void on_every_way(const std::function<void(Way)>& body) {
  on_every_target([&] { body(bf16::add_matmul_widened); });
  if (!has_bf16_dot()) return;
  SCOPED_TRACE("the instruction");
  body(bf16::add_matmul_by_instruction);
}

TEST(AddMatmulBf16, HasTheBitsOfTheReferenceOnEveryWay) {
  for (const Problem& p : kProblems) {
    for (const int64_t rows : {1, 2, 3, 5, 9, 13, 27}) {  // one tile and several, with every number ahead
      const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1),
                          x = random_floats(rows * p.inputs, 2);
      const PackedBf16Matrix w = packed(p, weights);
      const Rounded in(x, rows, p.inputs);
      const int64_t stride = w.padded_outputs();
      AlignedFloats expected = random_floats(rows * stride, 3);
      reference::add_matmul(in.bits.data(), in.stride, rows, w, expected.data(), stride);
      on_every_way([&](Way way) {
        AlignedFloats y = random_floats(rows * stride, 3);
        way(in.bits.data(), in.stride, rows, w, y.data(), stride, {});
        for (int64_t r = 0; r < rows; ++r) {
          expect_same_bits(expected.data() + r * stride, y.data() + r * stride, p.outputs, "row");
        }
      });
    }
  }
}

TEST(AddMatmulBf16, GivesARowTheSameBitsInEveryBatch) {
  const Problem p{344, 301};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(33 * p.inputs, 2);
  const PackedBf16Matrix w = packed(p, weights);
  const Rounded in(x, 33, p.inputs);
  const int64_t stride = w.padded_outputs();
  on_every_way([&](Way way) {
    AlignedFloats alone(33 * stride);
    for (int64_t r = 0; r < 33; ++r)
      way(in.bits.data() + r * in.stride, in.stride, 1, w, alone.data() + r * stride, stride, {});
    for (const int64_t rows : {1, 2, 3, 4, 6, 7, 12, 16, 18, 33}) {
      AlignedFloats y(rows * stride);
      way(in.bits.data(), in.stride, rows, w, y.data(), stride, {});
      expect_same_bits(alone.data(), y.data(), rows * stride, "batch");
    }
  });
}

TEST(AddMatmulBf16, GivesPanelsByThemselvesTheBitsOfTheWhole) {
  const Problem p{344, 301};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(9 * p.inputs, 2);
  const PackedBf16Matrix w = packed(p, weights);
  const Rounded in(x, 9, p.inputs);
  const int64_t stride = w.padded_outputs();
  on_every_way([&](Way way) {
    AlignedFloats whole(9 * stride), parts(9 * stride);
    way(in.bits.data(), in.stride, 9, w, whole.data(), stride, {});
    for (const PanelRange range : {PanelRange{2, 5}, {0, 2}, {5, 6}, {6, 6}})
      way(in.bits.data(), in.stride, 9, w, parts.data(), stride, range);
    expect_same_bits(whole.data(), parts.data(), whole.size(), "panels");
  });
}

// Both sides rounded once, to 2^-9 of themselves at most: the sum of what the products can be off by.
TEST(AddMatmulBf16, IsTheProductInDoubleUpToTheRoundingOfBothSides) {
  const Problem p{130, 513};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(p.inputs, 2);
  const PackedBf16Matrix w = packed(p, weights);
  const Rounded in(x, 1, p.inputs);
  on_every_way([&](Way way) {
    AlignedFloats y(w.padded_outputs());
    for (int64_t n = 0; n < w.padded_outputs(); ++n) y.data()[n] = 0.5f;
    way(in.bits.data(), in.stride, 1, w, y.data(), w.padded_outputs(), {});
    for (int64_t n = 0; n < p.outputs; ++n) {
      double exact = 0.5, of_rounded = 0.5, sizes = 0;
      for (int64_t k = 0; k < p.inputs; ++k) {
        const float a = weights.data()[n * p.inputs + k], b = x.data()[k];
        exact += double{a} * b;
        of_rounded += double{bf16_to_float(float_to_bf16(a))} * bf16_to_float(float_to_bf16(b));
        sizes += std::abs(double{a} * b);
      }
      EXPECT_NEAR(y.data()[n], of_rounded, 3e-5) << n;
      EXPECT_NEAR(y.data()[n], exact, sizes / 256) << n;
    }
    EXPECT_EQ(y.data()[p.outputs], 0.5f) << "what stands past the outputs is kept";
  });
}

TEST(AddMatmulBf16, UsesTheInstructionWhereThereIsOne) {
  const Problem p{70, 9};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(p.inputs, 2);
  const PackedBf16Matrix w = packed(p, weights);
  const Rounded in(x, 1, p.inputs);
  AlignedFloats expected(w.padded_outputs()), y(w.padded_outputs());
  (has_bf16_dot() ? bf16::add_matmul_by_instruction : bf16::add_matmul_widened)(
      in.bits.data(), in.stride, 1, w, expected.data(), w.padded_outputs(), {});
  add_matmul(in.bits.data(), in.stride, 1, w, y.data(), w.padded_outputs());
  expect_same_bits(expected.data(), y.data(), p.outputs, "row");
}

TEST(RoundRowToBf16, HasTheBitsOfTheReferenceAlsoAtTheEdges) {
  std::vector<float> x{0.0f,
                       -0.0f,
                       1.0f,
                       1.00390625f,  // a tie: to even, down
                       1.01171875f,  // a tie: to even, up
                       std::numeric_limits<float>::max(),
                       std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN(),
                       std::bit_cast<float>(0x7FFFFFFFu),  // a NaN whose rounding would carry into the sign
                       std::bit_cast<float>(0x7F800001u),
                       std::numeric_limits<float>::denorm_min(),
                       -1e-39f};
  const AlignedFloats more = random_floats(50, 5);
  x.insert(x.end(), more.data(), more.data() + 50);
  for (const size_t n : {x.size(), x.size() - 1, size_t{16}, size_t{1}}) {
    std::vector<uint16_t> expected(n + 2, 7);
    reference::round_row_to_bf16(x.data(), static_cast<int64_t>(n), expected.data());
    on_every_target([&] {
      std::vector<uint16_t> y(n + 2, 7);
      round_row_to_bf16(x.data(), static_cast<int64_t>(n), y.data());
      EXPECT_EQ(y, expected) << n;
    });
    EXPECT_EQ(expected[n], n % 2 == 1 ? 0 : 7) << "the missing half of a pair is 0, no more is written";
  }
}

TEST(PackedBf16Matrix, TakesOutputsInParts) {
  const Problem p{200, 7};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 4);
  const PackedBf16Matrix whole = packed(p, weights);
  PackedBf16Matrix parts(p.outputs, p.inputs);
  parts.set_outputs(0, 60, weights.data());
  parts.set_outputs(60, 140, weights.data() + 60 * p.inputs);
  for (int64_t i = 0; i < whole.padded_outputs() * whole.pairs(); ++i)
    ASSERT_EQ(whole.panel(0)[i], parts.panel(0)[i]) << i;
}

}  // namespace
}  // namespace fulcrum::kernels
