#include <algorithm>
#include <cmath>

#include "engine/kernels/reference_sum.h"
#include "engine/kernels/sum_of_squares/op.h"

namespace fulcrum::kernels::reference {

double sum_of_squares(const float* x, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kSquaresBlock) {
    float chains[16] = {};
    for (int64_t i = begin; i < std::min(begin + kSquaresBlock, n); ++i)
      chains[i % 16] = std::fma(x[i], x[i], chains[i % 16]);
    total += double{sum16(chains)};
  }
  return total;
}

}  // namespace fulcrum::kernels::reference
