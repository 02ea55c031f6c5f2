#include "policy/weights/tensor.h"

#include <array>
#include <cstring>
#include <utility>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "policy/weights/half.h"

namespace fulcrum {
namespace {

struct DTypeFacts {
  std::string_view name;
  size_t size;
};

// In the order of DType.
constexpr std::array<DTypeFacts, 10> kDTypes{{{"F32", 4},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"F64", 8},
                                              {"I64", 8},
                                              {"I32", 4},
                                              {"I16", 2},
                                              {"I8", 1},
                                              {"U8", 1},
                                              {"BOOL", 1}}};

// Reads element by element through memcpy: a file may place its values on any byte.
template <class Stored, class Convert>
std::vector<float> converted(std::span<const std::byte> bytes, Convert convert) {
  std::vector<float> out(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(stored);
  }
  return out;
}

void hash_number(Sha256& hash, uint64_t value) { hash.update(std::as_bytes(std::span(&value, 1))); }

// Lengths stand before what has no fixed length, so that two different maps never give the same bytes.
void hash_text(Sha256& hash, std::string_view text) {
  hash_number(hash, text.size());
  hash.update(text);
}

}  // namespace

size_t dtype_size(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].size; }

std::string_view dtype_name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

Result<DType> parse_dtype(std::string_view name) {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  return invalid_argument("unsupported tensor type " + in_quotes(name, 40));
}

bool is_floating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF64;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::vector<std::string> sizes;
  for (const int64_t d : shape) sizes.push_back(std::to_string(d));
  return "[" + join(sizes, ", ") + "]";
}

int64_t TensorView::numel() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

TensorView make_tensor(std::vector<int64_t> shape, std::span<const float> values) {
  auto owned = std::make_shared<const std::vector<float>>(values.begin(), values.end());
  const std::span<const std::byte> bytes = std::as_bytes(std::span(*owned));
  return {DType::kF32, std::move(shape), bytes, std::move(owned)};
}

Result<std::vector<float>> to_float(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return converted<float>(tensor.bytes, [](float v) { return v; });
    case DType::kF16:
      return converted<uint16_t>(tensor.bytes, fp16_to_float);
    case DType::kBF16:
      return converted<uint16_t>(tensor.bytes, bf16_to_float);
    case DType::kF64:
      return converted<double>(tensor.bytes, [](double v) { return static_cast<float>(v); });
    default:
      return invalid_argument("a tensor of type " + std::string(dtype_name(tensor.dtype)) +
                              " holds no floats");
  }
}

std::string content_hash(const TensorMap& tensors) {
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    hash_text(hash, name);
    hash_text(hash, dtype_name(tensor.dtype));
    hash_number(hash, tensor.shape.size());
    for (const int64_t d : tensor.shape) hash_number(hash, static_cast<uint64_t>(d));
    hash_number(hash, tensor.bytes.size());
    hash.update(tensor.bytes);
  }
  return hash.hex();
}

}  // namespace fulcrum
