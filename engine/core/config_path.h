// What the visitors of engine/core/config.h share: the dotted path of the key at hand and ranges as text.
// Used by the config_*.cpp files only.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/config.h"

namespace fulcrum::config_detail {

std::string number_text(double v);
// "> 0", "0 to 1", "" for any number.
std::string range_text(const Range& r);

// "a, b" for the separator ", "; the empty name, which stands for a default, as two quotes.
std::string choices_text(const Choices& choices, std::string_view separator);

// Keeps the dotted path of the key being visited.
class PathVisitor : public ConfigVisitor {
 protected:
  std::string path_of(std::string_view key) const { return prefix_ + std::string(key); }
  void push(std::string suffix) {
    lengths_.push_back(prefix_.size());
    prefix_ += suffix;
  }
  void pop() {
    prefix_.resize(lengths_.back());
    lengths_.pop_back();
  }

 private:
  std::string prefix_;
  std::vector<size_t> lengths_;
};

}  // namespace fulcrum::config_detail
