// A weight matrix of the model that generates, in fp32 or in bf16. Made by DecodeModel, multiplied by the
// decoder. Immutable once filled; multiply() is thread-safe on disjoint outputs and scratch.
#pragma once

#include <cstdint>
#include <variant>

#include "engine/kernels/aligned.h"
#include "engine/kernels/matmul/op.h"
#include "engine/kernels/matmul_bf16/op.h"
#include "policy/decode/workers.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

class WeightMatrix {
 public:
  WeightMatrix() = default;
  // `dtype`: kF32 or kBF16. Weights are 0 until set.
  WeightMatrix(DType dtype, int64_t outputs, int64_t inputs);

  // Copies `count` rows of `inputs()` weights each to the outputs from `first` on; rounds them if need be.
  void set_outputs(int64_t first, int64_t count, const float* rows);

  int64_t outputs() const;
  int64_t inputs() const;
  int64_t padded_outputs() const;  // what a row of y must have room for

  // y[r] += W x[r] for r < rows; strides in floats, a row of x padded to kernels::kRowAlign. In bf16 the rows
  // of x are rounded first, into `scratch` of rows * x_stride numbers; in fp32 it may be null. `helpers`, if
  // given, share the outputs of a large matrix: the bits stay the same.
  void add_product(const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride,
                   uint16_t* scratch, Workers* helpers = nullptr) const;

 private:
  std::variant<kernels::PackedMatrix, kernels::PackedBf16Matrix> weights_;
};

}  // namespace fulcrum
