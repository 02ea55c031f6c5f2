// The order in which every kernel adds its sixteen chains, for the references: halves until one is left
// (Sum16 in simd_inl.h is the same). Called by the op_reference.cpp files. Pure.
#pragma once

namespace fulcrum::kernels::reference {

// `sums` are spent.
inline float sum16(float* sums) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

}  // namespace fulcrum::kernels::reference
