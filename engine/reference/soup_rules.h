// Which tensors of a soup have weights of their own. Called by make_soup. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace fulcrum {

// SoupRule::tensors, read: "3" and "0-5" are layers, anything else a part of a tensor's name.
class TensorSelector {
 public:
  explicit TensorSelector(std::string text);
  bool matches(std::string_view tensor) const;

 private:
  std::string part_;
  std::optional<std::pair<int64_t, int64_t>> layers_;  // first and last
};

}  // namespace fulcrum
