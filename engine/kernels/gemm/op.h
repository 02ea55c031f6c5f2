// The products of training: C = A B, or C += A B, of matrices in any order of rows and columns. An
// element of C is the sum over blocks of kChainInputs of the depth, each block one chain of fused
// multiply-adds in the order of the depth: the sum that add_matmul (../matmul/op.h) makes. It never depends
// on the sizes, on the other elements, on the vector width or on how C is cut into parts, so threads that
// make parts of it give the bits of one. Called by policy/nn/products.cpp. Thread-safe on disjoint C.
//
// In bf16 both matrices are rounded as they are copied, and an element is the sum that matmul_bf16's
// add_matmul makes where the CPU has the instruction (blocks of kBf16ChainInputs, pair by pair); elsewhere
// the rounded numbers go the way of fp32, so the last bits of two kinds of CPU may differ.
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

// The same with A and B rounded to bf16 (to nearest even) and sums in fp32.
void gemm_bf16(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
               int64_t c_stride);

// The two ways gemm_bf16 may go; called by it and by their tests.
namespace bf16 {
// Only where has_bf16_dot() (../matmul_bf16/op.h).
void gemm_by_instruction(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                         int64_t c_stride);
void gemm_rounded(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
                  int64_t c_stride);
}  // namespace bf16

namespace reference {
void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride);
// By the instruction's order.
void gemm_bf16(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
               int64_t c_stride);
}  // namespace reference

}  // namespace fulcrum::kernels
