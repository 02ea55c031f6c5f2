#include "engine/kernels/matmul/op.h"

#include <algorithm>

namespace fulcrum::kernels {

PackedMatrix::PackedMatrix(int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), weights_(round_up(outputs, kPanelOutputs) * inputs) {}

void PackedMatrix::set_outputs(int64_t first, int64_t count, const float* rows) {
  // By parts of a panel, input by input: the writes are sequential, and few enough rows are read side by
  // side.
  for (int64_t begin = first; begin < first + count;) {
    const int64_t lane = begin % kPanelOutputs;
    const int64_t n = std::min(kPanelOutputs - lane, first + count - begin);
    float* panel = weights_.data() + (begin - lane) * inputs_ + lane;
    const float* source = rows + (begin - first) * inputs_;
    for (int64_t k = 0; k < inputs_; ++k) {
      for (int64_t i = 0; i < n; ++i) panel[k * kPanelOutputs + i] = source[i * inputs_ + k];
    }
    begin += n;
  }
}

}  // namespace fulcrum::kernels
