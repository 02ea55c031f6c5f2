#include "policy/decode/weight_matrix.h"

#include <algorithm>

namespace fulcrum {

using kernels::PackedBf16Matrix;
using kernels::PackedMatrix;

namespace {

// Smaller ones are done in less time than it takes to tell the others: a core reads 30 bytes in a nanosecond.
constexpr int64_t kSharedBytes = int64_t{512} << 10;

}  // namespace

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
                               uint16_t* scratch, Workers* helpers) const {
  const auto* bf16 = std::get_if<PackedBf16Matrix>(&weights_);
  if (bf16 != nullptr) {
    for (int64_t r = 0; r < rows; ++r)
      kernels::round_row_to_bf16(x + r * x_stride, bf16->inputs(), scratch + r * x_stride);
  }
  const auto panels = [&](kernels::PanelRange range) {
    if (bf16 != nullptr) return kernels::add_matmul(scratch, x_stride, rows, *bf16, y, y_stride, range);
    kernels::add_matmul(x, x_stride, rows, std::get<PackedMatrix>(weights_), y, y_stride, range);
  };
  const int64_t count = padded_outputs() / kernels::kPanelOutputs;
  const int64_t bytes = padded_outputs() * inputs() * (bf16 != nullptr ? 2 : 4);
  if (helpers == nullptr || bytes < kSharedBytes) return panels({});
  const int64_t parts = std::min(helpers->count(), count);
  helpers->run(parts, [&](int64_t i) { panels({count * i / parts, count * (i + 1) / parts}); });
}

}  // namespace fulcrum
