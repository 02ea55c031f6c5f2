// How a check calls a kernel of a decode step (engine/kernels/device/decode_table.h): the table it is in, and
// the structs a kernel reads between guards in the device's memory. One thread.
#pragma once

#include <ATen/ops/empty.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "bench/gpu/kernel_call.h"
#include "engine/kernels/device/decode_table.h"

namespace fulcrum::gpu_check {

// The kernels of a decode step and where they work.
struct DecodeCall {
  const kernels::DecodeKernels& table;
  at::Device device;
  kernels::DeviceStream stream;

  // Nothing, and a line that says so, where nothing generates on the device.
  static std::optional<DecodeCall> find(const CheckOptions& options, Checks& checks,
                                        const std::string& names);
  void require(int error) const;  // throws the runtime's words for it
};

inline constexpr kernels::ActivationType kTypes[] = {kernels::ActivationType::kF32,
                                                     kernels::ActivationType::kBf16};
at::ScalarType scalar_type(kernels::ActivationType type);

// Plain structs or numbers that LibTorch has no type for.
template <class T>
class GuardedValues {
 public:
  GuardedValues(const std::vector<T>& values, at::Device device) : bytes_(bytes_of(values), device, 0) {}
  T* data() const { return bytes_.template data<T>(); }
  std::vector<T> values() const {
    const at::Tensor bytes = bytes_.values();
    std::vector<T> out(static_cast<size_t>(bytes.numel()) / sizeof(T));
    std::memcpy(out.data(), bytes.const_data_ptr(), bytes.nbytes());
    return out;
  }

 private:
  static at::Tensor bytes_of(const std::vector<T>& values) {
    const at::Tensor out = at::empty({static_cast<int64_t>(values.size() * sizeof(T))}, at::kByte);
    std::memcpy(out.mutable_data_ptr(), values.data(), out.nbytes());
    return out;
  }
  Guarded bytes_;
};

}  // namespace fulcrum::gpu_check
