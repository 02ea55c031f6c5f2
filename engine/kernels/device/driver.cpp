#include "engine/kernels/device/driver.h"

#include <dlfcn.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "engine/core/text.h"

namespace fulcrum::kernels {
namespace {

// NVIDIA's driver API, of which these names and numbers are part of the binary interface.
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;
constexpr int kNoDevice = 100;  // none, or none that CUDA_VISIBLE_DEVICES lets this process see

void* library() {
  static void* const opened = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  return opened;
}

// The driver's own word for an error of one of its functions.
Status driver_error(const char* name, int error) {
  const char* text = nullptr;
  const auto explain = reinterpret_cast<int (*)(int, const char**)>(::dlsym(library(), "cuGetErrorName"));
  if (explain != nullptr) explain(error, &text);
  return failed_precondition(std::string("NVIDIA's driver: ") + name + " gives error " +
                             std::to_string(error) +
                             (text != nullptr ? " (" + printable(text) + ")" : std::string()));
}

// function(arguments...) of the driver; its error is kFailedPrecondition, but for those that are `no_fault`.
template <class... Arguments>
Result<int> call_for(int no_fault, const char* name, Arguments... arguments) {
  const auto function = reinterpret_cast<int (*)(Arguments...)>(::dlsym(library(), name));
  if (function == nullptr) return failed_precondition(std::string("NVIDIA's driver has no ") + name);
  const int error = function(arguments...);
  if (error == 0 || error == no_fault) return error;
  return driver_error(name, error);
}
template <class... Arguments>
Status call(const char* name, Arguments... arguments) {
  return call_for(0, name, arguments...).status();
}

Result<Gpu> read_gpu(int index) {
  int handle = 0, major = 0, minor = 0;
  std::array<char, 256> name{};
  size_t memory = 0;
  TRY_DO(call("cuDeviceGet", &handle, index));
  TRY_DO(call("cuDeviceGetName", name.data(), static_cast<int>(name.size()) - 1, handle));
  TRY_DO(call("cuDeviceTotalMem_v2", &memory, handle));
  TRY_DO(call("cuDeviceGetAttribute", &major, kCapabilityMajor, handle));
  TRY_DO(call("cuDeviceGetAttribute", &minor, kCapabilityMinor, handle));
  return Gpu{printable(name.data()), static_cast<int64_t>(memory), 10 * major + minor};
}

}  // namespace

bool has_driver() { return library() != nullptr; }

bool has_gpu() {
  const Result<Driver> driver = read_driver();
  return has_driver() && !(driver.ok() && driver->gpus.empty());
}

Result<Driver> read_driver() {
  if (!has_driver()) return failed_precondition("there is no NVIDIA driver (libcuda.so.1) on this machine");
  Driver out;
  int count = 0;
  TRY(started, call_for(kNoDevice, "cuInit", 0U));
  if (started == kNoDevice) return out;
  TRY_DO(call("cuDriverGetVersion", &out.version));
  TRY_DO(call("cuDeviceGetCount", &count));
  for (int i = 0; i < count; ++i) {
    TRY(gpu, read_gpu(i));
    out.gpus.push_back(std::move(gpu));
  }
  return out;
}

namespace {

// A launcher that hides the other ranks' GPUs leaves each rank number 0. A machine that has one GPU for
// several ranks is another matter.
bool is_left_alone(size_t gpus) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return gpus == 1 && visible != nullptr && *visible != 0;
}

Result<size_t> own_index(size_t gpus) {
  const char* variable = std::getenv("LOCAL_RANK");
  if (variable == nullptr) return size_t{0};
  const std::string_view text = variable;
  int64_t index = -1;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), index);
  if (error != std::errc() || end != text.end() || index < 0)
    return invalid_argument("LOCAL_RANK is " + in_quotes(variable) + ", it must be a whole number");
  if (is_left_alone(gpus)) return size_t{0};
  if (static_cast<size_t>(index) < gpus) return static_cast<size_t>(index);
  return failed_precondition("LOCAL_RANK is " + std::to_string(index) + ", but this machine has " +
                             std::to_string(gpus) + (gpus == 1 ? " GPU" : " GPUs") +
                             ": start fewer ranks, or give --device cpu");
}

}  // namespace

Result<OwnGpu> own_gpu() {
  TRY(driver, read_driver());
  if (driver.gpus.empty()) return failed_precondition("NVIDIA's driver shows no GPU to this process");
  if (driver.version < kLeastDriver) {
    return failed_precondition("NVIDIA's driver supports CUDA " + version_text(driver.version) +
                               ", this build needs " + version_text(kLeastDriver) + ": update the driver");
  }
  TRY(index, own_index(driver.gpus.size()));
  const Gpu& gpu = driver.gpus[index];
  if (!gpu.usable()) {
    return failed_precondition("the GPU " + in_quotes(gpu.name) + " (number " + std::to_string(index) +
                               ") has compute capability " + capability_text(gpu.capability) +
                               ", this build needs " + capability_text(kLeastCapability));
  }
  return OwnGpu{static_cast<int64_t>(index), gpu};
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}
std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

}  // namespace fulcrum::kernels
