// Rows times a weight matrix in strict fp32: y += x W^T. An output is the sum over blocks of kChainInputs
// inputs, each block one chain of fused multiply-adds in the order of the inputs. That order never depends on
// how many rows there are, on the other rows, on the vector width or on threads, so a row's result is the
// same bits alone or in any batch. Lanes hold different outputs, never parts of one sum. Called by
// policy/decode. Thread-safe on disjoint y.
#pragma once

#include <cstdint>

#include "engine/kernels/aligned.h"

namespace fulcrum::kernels {

inline constexpr int64_t kPanelOutputs = 64;  // outputs that lie side by side
inline constexpr int64_t kChainInputs = 128;  // a panel's part of this length fits the L1 cache

// W of [outputs, inputs], laid out for add_matmul: panels of kPanelOutputs outputs; in a panel, input by
// input, the weights of its outputs. Missing outputs of the last panel are 0.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(int64_t outputs, int64_t inputs);

  // Copies `count` rows of `inputs()` weights each to the outputs from `first` on.
  void set_outputs(int64_t first, int64_t count, const float* rows);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t padded_outputs() const {
    return round_up(outputs_, kPanelOutputs);
  }  // what a row of y must have room for
  const float* panel(int64_t i) const { return weights_.data() + i * kPanelOutputs * inputs_; }

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  AlignedFloats weights_;
};

// Panels [begin, end) of a matrix, as far as it has them: what a thread makes of a product.
struct PanelRange {
  int64_t begin = 0, end = INT64_MAX / kPanelOutputs;
};

// y[r] += W x[r] for r < rows; strides in floats; a row of y has padded_outputs() floats; those past
// outputs() get 0 added. Only the outputs of `panels` are touched.
void add_matmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
                int64_t y_stride, PanelRange panels = {});

namespace reference {
void add_matmul(const float* x, int64_t x_stride, int64_t rows, const PackedMatrix& w, float* y,
                int64_t y_stride);
}  // namespace reference

}  // namespace fulcrum::kernels
