#include "policy/decode/weight_matrix.h"

namespace fulcrum {

using kernels::PackedBf16Matrix;
using kernels::PackedMatrix;

WeightMatrix::WeightMatrix(DType dtype, int64_t outputs, int64_t inputs) {
  if (dtype == DType::kBF16) {
    weights_ = PackedBf16Matrix(outputs, inputs);
  } else {
    weights_ = PackedMatrix(outputs, inputs);
  }
}

void WeightMatrix::set_outputs(int64_t first, int64_t count, const float* rows) {
  std::visit([&](auto& w) { w.set_outputs(first, count, rows); }, weights_);
}

int64_t WeightMatrix::outputs() const {
  return std::visit([](const auto& w) { return w.outputs(); }, weights_);
}

int64_t WeightMatrix::inputs() const {
  return std::visit([](const auto& w) { return w.inputs(); }, weights_);
}

int64_t WeightMatrix::padded_outputs() const {
  return std::visit([](const auto& w) { return w.padded_outputs(); }, weights_);
}

void WeightMatrix::add_product(const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride,
                               uint16_t* scratch) const {
  if (const auto* fp32 = std::get_if<PackedMatrix>(&weights_)) {
    kernels::add_matmul(x, x_stride, rows, *fp32, y, y_stride);
    return;
  }
  const auto& bf16 = std::get<PackedBf16Matrix>(weights_);
  for (int64_t r = 0; r < rows; ++r)
    kernels::round_row_to_bf16(x + r * x_stride, bf16.inputs(), scratch + r * x_stride);
  kernels::add_matmul(scratch, x_stride, rows, bf16, y, y_stride);
}

}  // namespace fulcrum
