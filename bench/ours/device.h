// What the operations share that may work off the CPU: the device of their options, numbers made there, and
// the memory they take. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "bench/ours/op.h"

namespace fulcrum::bench {

// "device" of the options; without it the CPU.
Result<at::Device> device_of(const Json& options);
at::ScalarType dtype_of(const Json& options);

// Normal numbers, fp32: torch.randn(shape, generator=torch.Generator(device).manual_seed(seed)) gives the
// same, so that a peer needs no file to have the same input.
at::Tensor made_normal(at::Device device, const std::vector<int64_t>& shape, uint64_t seed);
// torch.randint(high, ...), int64.
at::Tensor made_below(at::Device device, int64_t high, const std::vector<int64_t>& shape, uint64_t seed);

// The most memory that LibTorch's tensors took on the device since watch_memory(); 0 on the CPU, where the
// kernel keeps count.
void watch_memory(at::Device device);
double peak_mib(at::Device device);

}  // namespace fulcrum::bench
