#include <algorithm>
#include <cmath>

#include "engine/core/half.h"
#include "engine/kernels/gemm/op.h"
#include "engine/kernels/matmul/op.h"
#include "engine/kernels/matmul_bf16/op.h"

namespace fulcrum::kernels::reference {

void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride) {
  for (int64_t i = 0; i < shape.rows; ++i) {
    for (int64_t j = 0; j < shape.columns; ++j) {
      float& out = c[i * c_stride + j];
      if (!add && shape.depth == 0) out = 0.0f;
      for (int64_t begin = 0; begin < shape.depth; begin += kChainInputs) {
        float chain = 0.0f;
        for (int64_t k = begin; k < std::min(begin + kChainInputs, shape.depth); ++k) {
          chain = std::fma(a.data[i * a.row_stride + k * a.column_stride],
                           b.data[k * b.row_stride + j * b.column_stride], chain);
        }
        out = add || begin > 0 ? out + chain : chain;
      }
    }
  }
}

void gemm_bf16(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
               int64_t c_stride) {
  const auto at = [&](const GemmMatrix& x, int64_t i, int64_t j) {
    return bf16_to_float(float_to_bf16(x.data[i * x.row_stride + j * x.column_stride]));
  };
  for (int64_t i = 0; i < shape.rows; ++i) {
    for (int64_t j = 0; j < shape.columns; ++j) {
      float& out = c[i * c_stride + j];
      if (!add && shape.depth == 0) out = 0.0f;
      for (int64_t begin = 0; begin < shape.depth; begin += kBf16ChainInputs) {
        const int64_t end = std::min(begin + kBf16ChainInputs, shape.depth);
        float chain = 0.0f;
        for (int64_t k = begin; k < end; k += 2) {
          if (k + 1 < end) chain = std::fma(at(a, i, k + 1), at(b, k + 1, j), chain);
          chain = std::fma(at(a, i, k), at(b, k, j), chain);
        }
        out = add || begin > 0 ? out + chain : chain;
      }
    }
  }
}

}  // namespace fulcrum::kernels::reference
