#include "engine/kernels/matmul/op.h"

#include <cmath>

#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

struct Problem {
  int64_t outputs, inputs;
};
const Problem kProblems[] = {{64, 64}, {16, 8}, {130, 129}, {344, 128}, {128, 344}, {1, 300}};

PackedMatrix packed(const Problem& p, const AlignedFloats& weights) {
  PackedMatrix w(p.outputs, p.inputs);
  w.set_outputs(0, p.outputs, weights.data());
  return w;
}

TEST(AddMatmul, HasTheBitsOfTheReferenceOnEveryInstructionSet) {
  for (const Problem& p : kProblems) {
    const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(9 * p.inputs, 2);
    const PackedMatrix w = packed(p, weights);
    const int64_t stride = w.padded_outputs();
    AlignedFloats expected = random_floats(9 * stride, 3);
    reference::add_matmul(x.data(), p.inputs, 9, w, expected.data(), stride);
    on_every_target([&] {
      AlignedFloats y = random_floats(9 * stride, 3);
      add_matmul(x.data(), p.inputs, 9, w, y.data(), stride);
      for (int64_t r = 0; r < 9; ++r) {
        expect_same_bits(expected.data() + r * stride, y.data() + r * stride, p.outputs, "row");
      }
    });
  }
}

TEST(AddMatmul, GivesARowTheSameBitsInEveryBatch) {
  const Problem p{344, 301};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(33 * p.inputs, 2);
  const PackedMatrix w = packed(p, weights);
  const int64_t stride = w.padded_outputs();
  AlignedFloats alone(33 * stride);
  for (int64_t r = 0; r < 33; ++r) {
    add_matmul(x.data() + r * p.inputs, p.inputs, 1, w, alone.data() + r * stride, stride);
  }
  for (const int64_t rows : {1, 2, 3, 4, 7, 16, 33}) {
    AlignedFloats y(rows * stride);
    add_matmul(x.data(), p.inputs, rows, w, y.data(), stride);
    expect_same_bits(alone.data(), y.data(), rows * stride, "batch");
  }
}

TEST(AddMatmul, GivesPanelsByThemselvesTheBitsOfTheWhole) {
  const Problem p{344, 301};  // five panels and a part of the sixth
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(9 * p.inputs, 2);
  const PackedMatrix w = packed(p, weights);
  const int64_t stride = w.padded_outputs();
  AlignedFloats whole(9 * stride), parts(9 * stride);
  add_matmul(x.data(), p.inputs, 9, w, whole.data(), stride);
  for (const PanelRange range : {PanelRange{2, 5}, {0, 2}, {5, 6}, {6, 6}})
    add_matmul(x.data(), p.inputs, 9, w, parts.data(), stride, range);
  expect_same_bits(whole.data(), parts.data(), whole.size(), "panels");
}

TEST(AddMatmul, IsTheProductInDouble) {
  const Problem p{130, 513};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 1), x = random_floats(p.inputs, 2);
  const PackedMatrix w = packed(p, weights);
  AlignedFloats y(w.padded_outputs());
  for (int64_t n = 0; n < w.padded_outputs(); ++n) y.data()[n] = 0.5f;
  add_matmul(x.data(), p.inputs, 1, w, y.data(), w.padded_outputs());
  for (int64_t n = 0; n < p.outputs; ++n) {
    double exact = 0.5;
    for (int64_t k = 0; k < p.inputs; ++k) exact += double{weights.data()[n * p.inputs + k]} * x.data()[k];
    EXPECT_NEAR(y.data()[n], exact, 3e-5) << n;
  }
  EXPECT_EQ(y.data()[p.outputs], 0.5f) << "what stands past the outputs is kept";
}

TEST(PackedMatrix, TakesOutputsInParts) {
  const Problem p{200, 7};
  const AlignedFloats weights = random_floats(p.outputs * p.inputs, 4);
  const PackedMatrix whole = packed(p, weights);
  PackedMatrix parts(p.outputs, p.inputs);
  parts.set_outputs(0, 60, weights.data());
  parts.set_outputs(60, 140, weights.data() + 60 * p.inputs);
  expect_same_bits(whole.panel(0), parts.panel(0), whole.padded_outputs() * p.inputs, "weights");
}

}  // namespace
}  // namespace fulcrum::kernels
