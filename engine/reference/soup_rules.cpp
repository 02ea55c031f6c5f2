#include "engine/reference/soup_rules.h"

#include <charconv>

namespace fulcrum {
namespace {

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || out < 0)
    return std::nullopt;
  return out;
}

// "model.layers.12.mlp.up_proj.weight" -> 12.
std::optional<int64_t> layer_of(std::string_view tensor) {
  constexpr std::string_view kLayers = "layers.";
  const size_t at = tensor.find(kLayers);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = tensor.substr(at + kLayers.size());
  return whole_number(rest.substr(0, rest.find('.')));
}

}  // namespace

TensorSelector::TensorSelector(std::string text) : part_(std::move(text)) {
  const size_t dash = part_.find('-');
  const auto first = whole_number(std::string_view(part_).substr(0, dash));
  const auto last =
      dash == std::string::npos ? first : whole_number(std::string_view(part_).substr(dash + 1));
  if (first && last) layers_ = {*first, *last};
}

bool TensorSelector::matches(std::string_view tensor) const {
  if (!layers_) return !part_.empty() && tensor.find(part_) != std::string_view::npos;
  const auto layer = layer_of(tensor);
  return layer && *layer >= layers_->first && *layer <= layers_->second;
}

}  // namespace fulcrum
