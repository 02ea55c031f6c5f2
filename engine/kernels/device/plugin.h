// The CUDA plugin, libfulcrum_cuda.so, which lies beside the program and is opened only on a machine with an
// NVIDIA driver. Called by engine/device, `fulcrum doctor` and the tests.
#pragma once

#include <cstdint>
#include <string>

#include "engine/core/files.h"
#include "engine/core/status.h"
#include "engine/kernels/device/decode_table.h"
#include "engine/kernels/device/group_table.h"
#include "engine/kernels/device/table.h"

namespace fulcrum::kernels {

// What the plugin's one exported function, fulcrum_cuda_plugin(), returns a pointer to.
struct CudaPlugin {
  const char* build = nullptr;  // that of plugin_build(): anything else is refused, and nothing else read
  const DeviceKernels* kernels = nullptr;  // for what learns
  const DecodeKernels* decode = nullptr;   // for what generates
  const DeviceGroup* group = nullptr;      // for ranks that learn together
};

// The build this program belongs to: version, and a hash of all sources of the plugin.
const char* plugin_build();

// Where the plugin belongs: beside the running program.
Path plugin_path();
// Opens it, once. kFailedPrecondition: it is not there, cannot be loaded (naming what is missing), or is of
// another build.
Result<const CudaPlugin*> open_plugin(const Path& path);

}  // namespace fulcrum::kernels
