// How a check calls a kernel of the table: memory of the device between guards, and numbers that are always
// the same. Used by the files of bench/gpu that check kernels. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "bench/gpu/checks.h"
#include "engine/kernels/device/table.h"

namespace fulcrum::gpu_check {

// Normal numbers, fp32, on the CPU.
at::Tensor numbers(int64_t n, uint64_t seed, double scale = 1);

// Values in the device's memory, `offset` elements past a multiple of 16 bytes, with a pattern on both sides.
class Guarded {
 public:
  Guarded(const at::Tensor& values_n, at::Device device, int64_t offset);

  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(begin());
  }
  // A copy on the CPU. Throws where the pattern was changed.
  at::Tensor values() const;

 private:
  std::byte* begin() const;
  int64_t n_, first_;
  at::Tensor all_;
};

// The kernels of this process and where they work.
struct Kernels {
  const kernels::DeviceKernels& table;
  at::Device device;
  kernels::DeviceStream stream;

  // Nothing, and a line that says so, where the process has none.
  static std::optional<Kernels> find(const CheckOptions& options, Checks& checks, const std::string& names);
  void require(int error) const;  // throws the runtime's words for it
};

struct Shape {
  int64_t rows, n;
};
std::string named(const Shape& shape, int64_t offset);
inline constexpr int64_t kOffsets[] = {0, 1};

// Two calls with the same numbers must give the same bits: throws where they do not. Gives the first.
template <class Run>
auto twice(const Run& run) {
  const std::vector<at::Tensor> first = run(), second = run();
  for (size_t i = 0; i < first.size(); ++i)
    TORCH_CHECK(apart(second[i], first[i], 1) == 0, "two calls with the same numbers differ");
  return first;
}

}  // namespace fulcrum::gpu_check
