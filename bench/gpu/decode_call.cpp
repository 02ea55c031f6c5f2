#include "bench/gpu/decode_call.h"

#include "policy/nn/device_call.h"

namespace fulcrum::gpu_check {

std::optional<DecodeCall> DecodeCall::find(const CheckOptions& options, Checks& checks,
                                           const std::string& names) {
  if (options.generation.kernels == nullptr || options.device.is_cpu()) {
    checks.leave_out(names, "nothing generates on " + options.device.str());
    return std::nullopt;
  }
  const at::Tensor there = at::empty({1}, at::TensorOptions(options.device));
  return DecodeCall{*options.generation.kernels, options.device, stream_of(there)};
}

void DecodeCall::require(int error) const { TORCH_CHECK(error == 0, table.error_text(error)); }

at::ScalarType scalar_type(kernels::ActivationType type) {
  return type == kernels::ActivationType::kBf16 ? at::kBFloat16 : at::kFloat;
}

}  // namespace fulcrum::gpu_check
