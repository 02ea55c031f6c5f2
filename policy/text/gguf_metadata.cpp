#include "policy/text/gguf_metadata.h"

#include <cstring>
#include <type_traits>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr uint64_t kMaxKeys = 1 << 16;  // published files have below a hundred

enum Type : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// Bytes on disk of one value: the least for strings.
uint64_t least_size(uint32_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    default:
      return 8;
  }
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t left() const { return bytes_.size() - at_; }
  uint64_t position() const { return at_; }

  template <class T>
  Result<T> number() {
    if (left() < sizeof(T)) return cut_short();
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  Result<std::string> string() {
    TRY(length, number<uint64_t>());
    if (length > left()) return cut_short();
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return value;
  }

  Result<GgufValue> value(uint32_t type) {
    switch (type) {
      case kUint8:
        return integer<uint8_t>();
      case kInt8:
        return integer<int8_t>();
      case kUint16:
        return integer<uint16_t>();
      case kInt16:
        return integer<int16_t>();
      case kUint32:
        return integer<uint32_t>();
      case kInt32:
        return integer<int32_t>();
      case kUint64:
        return integer<uint64_t>();
      case kInt64:
        return integer<int64_t>();
      case kFloat32:
        return real<float>();
      case kFloat64:
        return real<double>();
      case kBool:
        return boolean();
      case kString:
        return text();
      case kArray:
        return array();
      default:
        return unknown_type(type);
    }
  }

 private:
  static Status cut_short() { return invalid_argument("the GGUF file ends in the middle of its metadata"); }
  static Status unknown_type(uint32_t type) {
    return invalid_argument("GGUF metadata has a value of unknown type " + std::to_string(type));
  }

  template <class T>
  Result<GgufValue> integer() {
    TRY(value, number<T>());
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(INT64_MAX))
        return invalid_argument("GGUF metadata has an integer above 2^63");
    }
    return GgufValue(static_cast<int64_t>(value));
  }
  template <class T>
  Result<GgufValue> real() {
    TRY(value, number<T>());
    return GgufValue(static_cast<double>(value));
  }
  Result<GgufValue> boolean() {
    TRY(value, number<uint8_t>());
    return GgufValue(value != 0);
  }
  Result<GgufValue> text() {
    TRY(value, string());
    return GgufValue(std::move(value));
  }

  template <class T>
  Result<GgufValue> items(uint32_t type, uint64_t count) {
    std::vector<T> list;
    list.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      TRY(item, value(type));
      list.push_back(std::get<T>(std::move(item)));
    }
    return GgufValue(std::move(list));
  }

  Result<GgufValue> array() {
    TRY(type, number<uint32_t>());
    TRY(count, number<uint64_t>());
    if (type == kArray) return invalid_argument("GGUF metadata has an array of arrays");
    if (type > kFloat64) return unknown_type(type);
    if (count > left() / least_size(type)) return cut_short();
    switch (type) {
      case kString:
        return items<std::string>(type, count);
      case kBool:
        return items<bool>(type, count);
      case kFloat32:
      case kFloat64:
        return items<double>(type, count);
      default:
        return items<int64_t>(type, count);
    }
  }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

}  // namespace

Result<GgufMetadata> read_gguf_metadata(std::span<const std::byte> file) {
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) return invalid_argument("not a GGUF file");
  Reader reader(file.subspan(4));
  GgufMetadata metadata;
  TRY(version, reader.number<uint32_t>());
  if (version != 2 && version != 3) {
    return invalid_argument("GGUF version " + std::to_string(version) + " is not supported, only 2 and 3");
  }
  TRY(tensors, reader.number<uint64_t>());
  TRY(keys, reader.number<uint64_t>());
  if (keys > kMaxKeys)
    return invalid_argument("the GGUF file says it has " + std::to_string(keys) + " metadata keys");
  metadata.version = version;
  metadata.tensor_count = tensors;
  for (uint64_t i = 0; i < keys; ++i) {
    TRY(key, reader.string());
    TRY(type, reader.number<uint32_t>());
    auto value = reader.value(type);
    if (!value.ok()) return value.status().with_context("key " + in_quotes(key, 80));
    if (!metadata.values.emplace(key, std::move(value).value()).second) {
      return invalid_argument("GGUF metadata has the key " + in_quotes(key, 80) + " twice");
    }
  }
  metadata.bytes = 4 + reader.position();
  return metadata;
}

}  // namespace fulcrum
