#include "bench/gpu/kernel_call.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cstring>

#include "policy/nn/device_call.h"

namespace fulcrum::gpu_check {
namespace {

constexpr int64_t kGuard = 64;  // elements; a multiple of 16 bytes for every type
constexpr int kPattern = 0xA5;

bool is_pattern(const at::Tensor& bytes) { return bytes.eq(kPattern).all().item<bool>(); }

}  // namespace

at::Tensor numbers(int64_t n, uint64_t seed, double scale) {
  return at::randn({n}, at::detail::createCPUGenerator(seed)).mul_(scale);
}

Guarded::Guarded(const at::Tensor& values_n, at::Device device, int64_t offset)
    : n_(values_n.numel()), first_(kGuard + offset) {
  const at::Tensor all = at::empty({n_ + 2 * kGuard + offset}, values_n.options());
  std::memset(all.mutable_data_ptr(), kPattern, all.nbytes());
  all.narrow(0, first_, n_).copy_(values_n.flatten());
  all_ = all.to(device, all.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

std::byte* Guarded::begin() const {
  return static_cast<std::byte*>(all_.mutable_data_ptr()) +
         first_ * static_cast<int64_t>(all_.element_size());
}

at::Tensor Guarded::values() const {
  const at::Tensor all = all_.to(at::kCPU);
  const at::Tensor bytes = all.view(at::kByte);
  const auto size = static_cast<int64_t>(all.element_size());
  TORCH_CHECK(is_pattern(bytes.narrow(0, 0, first_ * size)), "written before the beginning");
  TORCH_CHECK(is_pattern(bytes.narrow(0, (first_ + n_) * size, kGuard * size)), "written past the end");
  return all.narrow(0, first_, n_).clone();
}

std::optional<Kernels> Kernels::find(const CheckOptions& options, Checks& checks, const std::string& names) {
  const kernels::DeviceKernels* table = kernels::device_kernels();
  if (table == nullptr || options.device.is_cpu()) {
    checks.leave_out(names, "there are no kernels for " + options.device.str());
    return std::nullopt;
  }
  const at::Tensor there = at::empty({1}, at::TensorOptions(options.device));
  return Kernels{*table, options.device, stream_of(there)};
}

void Kernels::require(int error) const { TORCH_CHECK(error == 0, table.error_text(error)); }

std::string named(const Shape& shape, int64_t offset) {
  return std::to_string(shape.rows) + " rows of " + std::to_string(shape.n) +
         (offset != 0 ? ", unaligned" : "");
}

}  // namespace fulcrum::gpu_check
