// What NVIDIA's driver says of this machine, without CUDA's runtime: libcuda.so.1 is opened if it is there.
// Called where a GPU is chosen, and by `fulcrum doctor`. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum::kernels {

// The plugin's kernels and its CUDA version need this compute capability, and a driver of this version.
inline constexpr int kLeastCapability = 80;  // 8.0
inline constexpr int kLeastDriver = 13000;   // CUDA 13.0

struct Gpu {
  std::string name;
  int64_t memory = 0;  // bytes
  int capability = 0;  // 90: 9.0
  bool usable() const { return capability >= kLeastCapability; }
};

bool has_driver();
// Whether there may be a GPU: the driver shows one, or says that something is wrong.
bool has_gpu();
// CUDA's version that the driver supports (13000: 13.0), and all GPUs it shows. kFailedPrecondition: there is
// no driver, or it reports an error.
struct Driver {
  int version = 0;
  std::vector<Gpu> gpus;
};
Result<Driver> read_driver();

// The GPU this process takes, if it can be used: number LOCAL_RANK, else the first; the one that
// CUDA_VISIBLE_DEVICES leaves, whatever LOCAL_RANK is. kInvalidArgument: LOCAL_RANK is no number.
// kFailedPrecondition naming what is missing.
struct OwnGpu {
  int64_t index = 0;  // among those that this process sees
  Gpu gpu;
};
Result<OwnGpu> own_gpu();

std::string version_text(int version);        // "13.0"
std::string capability_text(int capability);  // "9.0"

}  // namespace fulcrum::kernels
