#include "bench/ours/device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "policy/nn/device.h"

namespace fulcrum::bench {
namespace {

at::Generator generator(at::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  at::Generator out = at::globalContext().defaultGenerator(device);
  out.set_current_seed(seed);
  return out;
}

}  // namespace

Result<at::Device> device_of(const Json& options) { return open_device(options.value("device", "cpu")); }

at::ScalarType dtype_of(const Json& options) {
  return options.at("dtype") == "bf16" ? at::kBFloat16 : at::kFloat;
}

at::Tensor made_normal(at::Device device, const std::vector<int64_t>& shape, uint64_t seed) {
  return at::randn(shape, generator(device, seed), at::TensorOptions(device));
}

at::Tensor made_below(at::Device device, int64_t high, const std::vector<int64_t>& shape, uint64_t seed) {
  return at::randint(high, shape, generator(device, seed), at::TensorOptions(device).dtype(at::kLong));
}

void watch_memory(at::Device device) {
  if (!device.is_cuda()) return;
  c10::getDeviceAllocator(device.type())->emptyCache();
  c10::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

double peak_mib(at::Device device) {
  if (!device.is_cuda()) return 0;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return static_cast<double>(stats.allocated_bytes[kAll].peak) / (1 << 20);
}

}  // namespace fulcrum::bench
