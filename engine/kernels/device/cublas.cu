#include "engine/kernels/device/cublas.h"

#include <dlfcn.h>

#include <optional>

namespace fulcrum::kernels::cuda {
namespace {

template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  return function != nullptr;
}

std::optional<Cublas> open_library() {
  void* library = ::dlopen("libcublas.so.13", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  Cublas c{};
  const bool all =
      find(library, "cublasCreate_v2", c.create) && find(library, "cublasDestroy_v2", c.destroy) &&
      find(library, "cublasSetStream_v2", c.set_stream) &&
      find(library, "cublasSetWorkspace_v2", c.set_workspace) && find(library, "cublasGemmEx", c.gemm);
  return all ? std::optional(c) : std::nullopt;
}

}  // namespace

const Cublas* cublas() {
  static const std::optional<Cublas> found = open_library();  // for the life of the process
  return found ? &*found : nullptr;
}

}  // namespace fulcrum::kernels::cuda
