// The key-value head of a GGUF file (versions 2 and 3, little endian), without its tensors. Every length in
// it is checked against what is left of the file before it is used. Called by the tokenizer loader. Values,
// thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// Integers of every width are int64 (an uint64 above its range is an error), floats are double.
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<bool>, std::vector<std::string>>;

struct GgufMetadata {
  uint32_t version = 0;
  uint64_t tensor_count = 0;
  std::map<std::string, GgufValue, std::less<>> values;
  uint64_t bytes = 0;  // how long this head is

  // The value if the key is there with this type, else nullptr.
  template <class T>
  const T* find(std::string_view key) const {
    const auto it = values.find(key);
    return it == values.end() ? nullptr : std::get_if<T>(&it->second);
  }
};

// kInvalidArgument: not GGUF, another version, cut short, a length or type that cannot be, a key twice.
Result<GgufMetadata> read_gguf_metadata(std::span<const std::byte> file);

}  // namespace fulcrum
