// The products of training in fp32: C = A B, or C += A B, of matrices in any order of rows and columns. An
// element of C is the sum over blocks of kChainInputs of the depth, each block one chain of fused
// multiply-adds in the order of the depth: the sum that add_matmul (../matmul/op.h) makes. It never depends
// on the sizes, on the other elements, on the vector width or on how C is cut into parts, so threads that
// make parts of it give the bits of one. Called by policy/nn/products.cpp. Thread-safe on disjoint C.
//
// Blocks of A and B are copied to where the caches hold them and the tiles read them in order (Goto & van de
// Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// Element (i, j) is data[i * row_stride + j * column_stride]; one of the two strides is 1.
struct GemmMatrix {
  const float* data;
  int64_t row_stride, column_stride;
};

// A is [rows, depth], B is [depth, columns], C is [rows, columns].
struct GemmShape {
  int64_t rows, columns, depth;
};

// Rows of C are `c_stride` floats apart; with `add`, the product is added to what stands there.
void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride);

namespace reference {
void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride);
}  // namespace reference

}  // namespace fulcrum::kernels
