#include <algorithm>

#include "engine/core/half.h"
#include "engine/kernels/matmul_bf16/op.h"

namespace fulcrum::kernels {

PackedBf16Matrix::PackedBf16Matrix(int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), weights_(round_up(outputs, kPanelOutputs) * pairs()) {}

void PackedBf16Matrix::set_outputs(int64_t first, int64_t count, const float* rows) {
  // By parts of a panel, pair by pair: the writes are sequential, and few enough rows are read side by side.
  for (int64_t begin = first; begin < first + count;) {
    const int64_t lane = begin % kPanelOutputs;
    const int64_t n = std::min(kPanelOutputs - lane, first + count - begin);
    uint32_t* to = weights_.data() + (begin - lane) * pairs() + lane;
    const float* source = rows + (begin - first) * inputs_;
    for (int64_t k = 0; k < inputs_; k += 2, to += kPanelOutputs) {
      for (int64_t i = 0; i < n; ++i) {
        const float* pair = source + i * inputs_ + k;
        const uint32_t odd = k + 1 < inputs_ ? float_to_bf16(pair[1]) : 0;
        to[i] = odd << 16 | float_to_bf16(pair[0]);
      }
    }
    begin += n;
  }
}

}  // namespace fulcrum::kernels
