// Rows times a weight matrix in bf16 with sums in fp32: y += x W^T, both sides rounded to bf16 first. Half
// the bytes of the fp32 matrix, and on CPUs with the instruction vdpbf16ps twice its multiply-adds.
//
// An output is the sum over blocks of kBf16ChainInputs inputs, each block one chain: pair by pair of inputs,
// first the odd one, then the even one, each multiply-add rounded once, which is what the instruction is
// documented to do. That order never depends on how many rows there are, on the other rows or on threads, so
// a row's result is the same bits alone or in any batch. Other CPUs widen the weights and walk the same chain
// in fp32; the instruction takes numbers below 2^-126 for 0 and they do not, and no maker promises more than
// its manual, so results of two kinds of CPU may differ in bits: rollout/fingerprint.h measures whether they
// do. Called by policy/decode. Thread-safe on disjoint y.
#pragma once

#include <cstdint>

#include "engine/kernels/aligned.h"
#include "engine/kernels/matmul/op.h"

namespace fulcrum::kernels {

inline constexpr int64_t kBf16ChainInputs = 256;  // a panel's part of this length fits the L1 cache

// W of [outputs, inputs], rounded to bf16 and laid out for add_matmul: panels of kPanelOutputs outputs; in
// a panel, pair by pair of inputs, for each of its outputs the two weights in one word, the even input's in
// the low half. What is missing of the last panel and of the last pair is 0.
class PackedBf16Matrix {
 public:
  PackedBf16Matrix() = default;
  PackedBf16Matrix(int64_t outputs, int64_t inputs);

  // Rounds `count` rows of `inputs()` weights each, and puts them at the outputs from `first` on.
  void set_outputs(int64_t first, int64_t count, const float* rows);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t pairs() const { return (inputs_ + 1) / 2; }
  int64_t padded_outputs() const {
    return round_up(outputs_, kPanelOutputs);
  }  // what a row of y must have room for
  const uint32_t* panel(int64_t i) const { return weights_.data() + i * kPanelOutputs * pairs(); }

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  Aligned<uint32_t> weights_;
};

// y = x rounded to bf16, to nearest even (infinity on overflow, NaN stays NaN), 0 for the missing half of the
// last pair, for which y has room.
void round_row_to_bf16(const float* x, int64_t n, uint16_t* y);

// y[r] += W x[r] for r < rows; x from round_row_to_bf16; strides in numbers, x's a multiple of 2; a row of y
// has padded_outputs() floats; those past outputs() get 0 added. Only the outputs of `panels` are touched.
void add_matmul(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w, float* y,
                int64_t y_stride, PanelRange panels = {});

// Whether add_matmul uses the instruction: this CPU and its operating system have it.
bool has_bf16_dot();

// The two ways add_matmul may go; called by it and by their tests.
namespace bf16 {
// Only where has_bf16_dot().
void add_matmul_by_instruction(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w,
                               float* y, int64_t y_stride, PanelRange panels = {});
void add_matmul_widened(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w,
                        float* y, int64_t y_stride, PanelRange panels = {});
}  // namespace bf16

namespace reference {
void round_row_to_bf16(const float* x, int64_t n, uint16_t* y);
void add_matmul(const uint16_t* x, int64_t x_stride, int64_t rows, const PackedBf16Matrix& w, float* y,
                int64_t y_stride);
}  // namespace reference

}  // namespace fulcrum::kernels
