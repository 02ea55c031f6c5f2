// The one function that libfulcrum_cuda.so exports (plugin.h).
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/plugin.h"

extern "C" __attribute__((visibility("default"))) const fulcrum::kernels::CudaPlugin* fulcrum_cuda_plugin() {
  static const fulcrum::kernels::CudaPlugin plugin{FULCRUM_PLUGIN_BUILD, &fulcrum::kernels::cuda_kernels(),
                                                   &fulcrum::kernels::cuda_decode_kernels()};
  return &plugin;
}
