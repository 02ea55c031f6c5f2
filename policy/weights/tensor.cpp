#include "policy/weights/tensor.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/core/half.h"
#include "engine/core/hash.h"
#include "engine/core/text.h"

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
template <class Number, class Stored, class Convert>
std::vector<Number> converted(std::span<const std::byte> bytes, Convert convert) {
  std::vector<Number> out(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<Number>(convert(stored));
  }
  return out;
}

template <class Number>
Result<std::vector<Number>> values_of(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
      return converted<Number, float>(tensor.bytes, [](float v) { return v; });
    case DType::kF16:
      return converted<Number, uint16_t>(tensor.bytes, fp16_to_float);
    case DType::kBF16:
      return converted<Number, uint16_t>(tensor.bytes, bf16_to_float);
    case DType::kF64:
      return converted<Number, double>(tensor.bytes, [](double v) { return v; });
    default:
      return invalid_argument("a tensor of type " + std::string(dtype_name(tensor.dtype)) +
                              " holds no floats");
  }
}

template <class Stored>
TensorView owning_tensor(DType dtype, std::vector<int64_t> shape, std::vector<Stored> values) {
  auto owned = std::make_shared<const std::vector<Stored>>(std::move(values));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(*owned));
  return {dtype, std::move(shape), bytes, std::move(owned)};
}

// Values through `round`; `widen` gives back what was stored, to see whether it is still finite.
template <class Stored, class Round, class Widen>
Result<TensorView> rounded(DType dtype, std::vector<int64_t> shape, std::span<const double> values,
                           Round round, Widen widen) {
  std::vector<Stored> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = round(values[i]);
    if (std::isfinite(values[i]) && !std::isfinite(widen(out[i]))) {
      return Status(Code::kOutOfRange,
                    std::to_string(values[i]) + " is beyond the range of " + std::string(dtype_name(dtype)));
    }
  }
  return owning_tensor(dtype, std::move(shape), std::move(out));
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

TensorView TensorView::elements(int64_t begin, int64_t count) const {
  const size_t size = dtype_size(dtype);
  return {dtype,
          {count},
          bytes.subspan(static_cast<size_t>(begin) * size, static_cast<size_t>(count) * size),
          owner};
}

TensorView make_tensor(std::vector<int64_t> shape, std::span<const float> values) {
  return owning_tensor(DType::kF32, std::move(shape), std::vector<float>(values.begin(), values.end()));
}

Result<TensorView> make_tensor(std::vector<int64_t> shape, std::span<const double> values, DType dtype) {
  const auto same = [](auto v) { return v; };
  const auto narrow = [](double v) { return static_cast<float>(v); };
  switch (dtype) {
    case DType::kF64:
      return owning_tensor(dtype, std::move(shape), std::vector<double>(values.begin(), values.end()));
    case DType::kF32:
      return rounded<float>(dtype, std::move(shape), values, narrow, same);
    case DType::kBF16:
      return rounded<uint16_t>(
          dtype, std::move(shape), values, [&](double v) { return float_to_bf16(narrow(v)); }, bf16_to_float);
    case DType::kF16:
      return rounded<uint16_t>(
          dtype, std::move(shape), values, [&](double v) { return float_to_fp16(narrow(v)); }, fp16_to_float);
    default:
      return invalid_argument(std::string(dtype_name(dtype)) + " is no floating type");
  }
}

Result<std::vector<float>> to_float(const TensorView& tensor) { return values_of<float>(tensor); }

Result<std::vector<double>> to_double(const TensorView& tensor) { return values_of<double>(tensor); }

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
