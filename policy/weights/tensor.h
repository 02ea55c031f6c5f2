// Named tensors as bytes: what files hold and what travels from learner to worker. Torch-free. A view keeps
// its bytes alive through `owner`; views are immutable and may be shared between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"

namespace fulcrum {

enum class DType { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

size_t dtype_size(DType dtype);
std::string_view dtype_name(DType dtype);  // safetensors' names: "F32", "BF16", ...
Result<DType> parse_dtype(std::string_view name);
bool is_floating(DType dtype);

std::string shape_text(std::span<const int64_t> shape);  // "[2, 3]"

struct TensorView {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little endian, aligned as the file had it
  std::shared_ptr<const void> owner;

  int64_t numel() const;
  // `count` elements from the `begin`-th on, as one row; the bytes stay this tensor's.
  TensorView elements(int64_t begin, int64_t count) const;
};

// Sorted by name, so that iteration, hashing and writing have one order.
using TensorMap = std::map<std::string, TensorView>;

// A tensor that owns a copy of the values.
TensorView make_tensor(std::vector<int64_t> shape, std::span<const float> values);

// The same in a floating type, each value rounded to it (to 16 bits through fp32), to nearest even.
// kOutOfRange if a finite value becomes infinite.
Result<TensorView> make_tensor(std::vector<int64_t> shape, std::span<const double> values, DType dtype);

// Values as fp32 (F32, F16, BF16, F64 accepted; anything else kInvalidArgument).
Result<std::vector<float>> to_float(const TensorView& tensor);
// The same as doubles: F64 is exact.
Result<std::vector<double>> to_double(const TensorView& tensor);

// SHA-256 over (name, dtype, shape, bytes) in name order.
std::string content_hash(const TensorMap& tensors);

}  // namespace fulcrum
