// The little of cuBLAS that a decode step calls, found at run time: its headers and the library come with the
// toolkit or LibTorch's wheels, and a machine without a GPU has neither. Names and numbers are those of
// cublas_api.h. Called by cuda_decode_table.cu. Thread-safe.
#pragma once

#include <cstddef>

namespace fulcrum::kernels::cuda {

struct Cublas {
  using Handle = void*;
  static constexpr int kNotTransposed = 0, kTransposed = 1;           // cublasOperation_t
  static constexpr int kFp32 = 0, kBf16 = 14;                         // cudaDataType
  static constexpr int kComputeFp32 = 68, kComputeFp32Strictly = 69;  // cublasComputeType_t
  static constexpr int kDefaultAlgorithm = -1;                        // cublasGemmAlgo_t
  // Statuses are its own numbers; here they begin after those of the CUDA runtime.
  static constexpr int kErrors = 100000, kNotThere = kErrors - 1;

  int (*create)(Handle* handle);
  int (*destroy)(Handle handle);
  int (*set_stream)(Handle handle, void* stream);
  int (*set_workspace)(Handle handle, void* memory, size_t bytes);
  int (*gemm)(Handle handle, int transposed_a, int transposed_b, int m, int n, int k, const void* alpha,
              const void* a, int a_type, int lda, const void* b, int b_type, int ldb, const void* beta,
              void* c, int c_type, int ldc, int compute_type, int algorithm);
};

// Null: there is no library.
const Cublas* cublas();

}  // namespace fulcrum::kernels::cuda
