// The one function that libfulcrum_cuda.so exports (plugin.h).
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/cuda_group.h"
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/plugin.h"

extern "C" __attribute__((visibility("default"))) const fulcrum::kernels::CudaPlugin* fulcrum_cuda_plugin() {
  static const fulcrum::kernels::CudaPlugin plugin{
      .build = FULCRUM_PLUGIN_BUILD,
      .kernels = &fulcrum::kernels::cuda_kernels(),
      .decode = &fulcrum::kernels::cuda_decode_kernels(),
      .group = &fulcrum::kernels::cuda_group(),
  };
  return &plugin;
}
