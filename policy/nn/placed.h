// Host numbers as a tensor where a model computes. Used by policy/nn.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <vector>

namespace fulcrum {

// [n] of T's own type, or of `type`.
template <class T>
at::Tensor placed(const std::vector<T>& values, at::Device device,
                  at::ScalarType type = c10::CppTypeToScalarType<T>::value) {
  return at::tensor(at::ArrayRef<T>(values), type).to(device);
}

}  // namespace fulcrum
