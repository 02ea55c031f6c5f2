// Plugins that must be refused, built by cmake/CudaOnHost.cmake: FAKE_BUILD is what this one says of itself.
#include "engine/kernels/device/plugin.h"

#ifdef FAKE_BUILD
extern "C" __attribute__((visibility("default"))) const void* fulcrum_cuda_plugin() {
  // What another build has after its name means nothing to this one.
  static const struct {
    const char* build = FAKE_BUILD;
    const void* kernels = reinterpret_cast<const void*>(1);
  } plugin;
  return &plugin;
}
#else
extern "C" __attribute__((visibility("default"))) int another_function() { return 1; }
#endif
