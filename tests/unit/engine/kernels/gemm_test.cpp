#include "engine/kernels/gemm/op.h"

#include <algorithm>
#include <cmath>

#include "engine/core/half.h"
#include "engine/kernels/matmul_bf16/op.h"

#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

// Whole blocks, edges of tiles, panels and blocks on every side, single rows and columns, and no depth at
// all.
const GemmShape kShapes[] = {{96, 64, 128},  {6, 64, 128},    {1, 1, 1},      {7, 13, 5},    {5, 16, 300},
                             {100, 130, 37}, {101, 577, 129}, {200, 48, 257}, {13, 1030, 9}, {3, 40, 0}};

struct Operands {
  GemmMatrix a, b;
  const AlignedFloats *of_a, *of_b;

  AlignedFloats a_rounded() const { return rounded(*of_a); }
  AlignedFloats b_rounded() const { return rounded(*of_b); }

 private:
  static AlignedFloats rounded(const AlignedFloats& x) {
    AlignedFloats out(x.size());
    for (int64_t i = 0; i < x.size(); ++i) out.data()[i] = bf16_to_float(float_to_bf16(x.data()[i]));
    return out;
  }
};

// With rows longer than they need be, as views of larger matrices have.
class Problem {
 public:
  explicit Problem(const GemmShape& s)
      : shape(s),
        a_(random_floats((s.rows + 3) * (s.depth + 3), 1)),
        b_(random_floats((s.depth + 3) * (s.columns + 3), 2)) {}

  Operands operands(bool a_transposed, bool b_transposed) const {
    return {
        a_transposed ? GemmMatrix{a_.data(), 1, shape.rows + 3} : GemmMatrix{a_.data(), shape.depth + 3, 1},
        b_transposed ? GemmMatrix{b_.data(), 1, shape.depth + 3}
                     : GemmMatrix{b_.data(), shape.columns + 3, 1},
        &a_, &b_};
  }
  int64_t c_stride() const { return shape.columns + 2; }
  AlignedFloats c() const { return random_floats(shape.rows * c_stride(), 3); }

  const GemmShape shape;

 private:
  AlignedFloats a_, b_;
};

template <class Check>
void for_each_way(Check check) {
  for (const GemmShape& shape : kShapes) {
    const Problem p(shape);
    for (const bool a : {false, true}) {
      for (const bool b : {false, true}) {
        for (const bool add : {false, true}) check(p, p.operands(a, b), add);
      }
    }
  }
}

TEST(Gemm, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for_each_way([](const Problem& p, const Operands& x, bool add) {
    AlignedFloats expected = p.c();
    reference::gemm(p.shape, x.a, x.b, add, expected.data(), p.c_stride());
    on_every_target([&] {
      AlignedFloats c = p.c();
      gemm(p.shape, x.a, x.b, add, c.data(), p.c_stride());
      expect_same_bits(expected.data(), c.data(), c.size(), "with what stands between the rows");
    });
  });
}

TEST(GemmBf16, HasTheBitsOfTheReferenceBothWays) {
  for_each_way([](const Problem& p, const Operands& x, bool add) {
    AlignedFloats expected = p.c();
    if (has_bf16_dot()) {
      reference::gemm_bf16(p.shape, x.a, x.b, add, expected.data(), p.c_stride());
      AlignedFloats c = p.c();
      bf16::gemm_by_instruction(p.shape, x.a, x.b, add, c.data(), p.c_stride());
      expect_same_bits(expected.data(), c.data(), c.size(), "by the instruction");
    }
    AlignedFloats a = x.a_rounded(), b = x.b_rounded();
    expected = p.c();
    reference::gemm(p.shape, {a.data(), x.a.row_stride, x.a.column_stride},
                    {b.data(), x.b.row_stride, x.b.column_stride}, add, expected.data(), p.c_stride());
    on_every_target([&] {
      AlignedFloats c = p.c();
      bf16::gemm_rounded(p.shape, x.a, x.b, add, c.data(), p.c_stride());
      expect_same_bits(expected.data(), c.data(), c.size(), "rounded");
    });
  });
}

// What a worker's decoder makes of the same row and weights (../matmul_bf16), so that the learner's log-probs
// in bf16 are the worker's.
TEST(GemmBf16, HasTheBitsOfTheDecodersProduct) {
  if (!has_bf16_dot()) GTEST_SKIP() << "this CPU has no bf16 dot product";
  const int64_t rows = 7, outputs = 100, inputs = 300;
  const AlignedFloats x = random_floats(rows * inputs, 1), w = random_floats(outputs * inputs, 2);
  PackedBf16Matrix packed(outputs, inputs);
  packed.set_outputs(0, outputs, w.data());
  Aligned<uint16_t> rounded(rows * inputs);
  for (int64_t r = 0; r < rows; ++r)
    round_row_to_bf16(x.data() + r * inputs, inputs, rounded.data() + r * inputs);
  AlignedFloats expected(rows * packed.padded_outputs()), got(rows * packed.padded_outputs());
  std::fill_n(expected.data(), expected.size(), 0.0f);
  std::fill_n(got.data(), got.size(), 0.0f);
  add_matmul(rounded.data(), inputs, rows, packed, expected.data(), packed.padded_outputs());
  gemm_bf16({rows, outputs, inputs}, {x.data(), inputs, 1}, {w.data(), 1, inputs}, true, got.data(),
            packed.padded_outputs());
  expect_same_bits(expected.data(), got.data(), got.size(), "the decoder's");
}

TEST(Gemm, GivesPartsTheBitsOfTheWhole) {
  const Problem p({101, 577, 129});
  for (const bool transposed : {false, true}) {
    const auto [a, b, of_a, of_b] = p.operands(transposed, transposed);
    AlignedFloats whole = p.c(), parts = p.c();
    gemm(p.shape, a, b, false, whole.data(), p.c_stride());
    for (const auto& [row, rows] : {std::pair{0, 6}, {6, 1}, {7, 94}}) {
      for (const auto& [column, columns] : {std::pair{0, 17}, {17, 64}, {81, 496}}) {
        gemm({rows, columns, p.shape.depth}, {a.data + row * a.row_stride, a.row_stride, a.column_stride},
             {b.data + column * b.column_stride, b.row_stride, b.column_stride}, false,
             parts.data() + row * p.c_stride() + column, p.c_stride());
      }
    }
    expect_same_bits(whole.data(), parts.data(), whole.size(), "parts");
  }
}

TEST(Gemm, IsTheProductInDouble) {
  const Problem p({9, 33, 700});
  const auto [a, b, of_a, of_b] = p.operands(false, true);
  AlignedFloats c = p.c();
  gemm(p.shape, a, b, false, c.data(), p.c_stride());
  for (int64_t i = 0; i < p.shape.rows; ++i) {
    for (int64_t j = 0; j < p.shape.columns; ++j) {
      double exact = 0;
      for (int64_t k = 0; k < p.shape.depth; ++k)
        exact += double{a.data[i * a.row_stride + k]} * b.data[k + j * b.column_stride];
      EXPECT_NEAR(c.data()[i * p.c_stride() + j], exact, 5e-5) << i << " " << j;
    }
  }
}

TEST(Gemm, KeepsWhatIsNotANumber) {
  const Problem p({7, 20, 10});
  auto [a, b, of_a, of_b] = p.operands(false, false);
  AlignedFloats poisoned = random_floats(7 * 13, 1), c = p.c();
  poisoned.data()[3 * 13 + 4] = std::nanf("");
  gemm(p.shape, {poisoned.data(), 13, 1}, b, false, c.data(), p.c_stride());
  for (int64_t j = 0; j < 20; ++j) {
    EXPECT_TRUE(std::isnan(c.data()[3 * p.c_stride() + j])) << j;
    EXPECT_FALSE(std::isnan(c.data()[2 * p.c_stride() + j])) << j;
  }
}

}  // namespace
}  // namespace fulcrum::kernels
