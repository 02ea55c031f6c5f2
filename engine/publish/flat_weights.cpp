#include "engine/publish/flat_weights.h"

#include <string>
#include <utility>

#include "engine/core/text.h"
#include "engine/kernels/matmul_bf16/op.h"

namespace fulcrum {

Result<FlatWeights> flatten_to_bf16(const WeightSet& weights, const FlatLayout& layout) {
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  const auto bytes_of = [](const TensorView& tensor) { return 2 * tensor.numel(); };
  int64_t end = 0;
  for (const auto& [name, tensor] : weights.tensors)
    end = kernels::round_up(end, layout.alignment) + bytes_of(tensor);
  auto values = std::make_shared<std::vector<uint16_t>>(size(kernels::round_up(end, layout.multiple) / 2));
  auto set = std::make_shared<WeightSet>();
  set->version = weights.version;
  set->spec = weights.spec;
  end = 0;
  for (const auto& [name, tensor] : weights.tensors) {
    const auto floats = to_float(tensor);
    if (!floats.ok()) return floats.status().with_context("weights: tensor " + in_quotes(name));
    const int64_t begin = kernels::round_up(end, layout.alignment);
    end = begin + bytes_of(tensor);
    // The kernel fills pairs: an odd tensor's last number has a neighbour, for which the alignment leaves
    // room.
    kernels::round_row_to_bf16(floats->data(), tensor.numel(), values->data() + begin / 2);
    set->tensors.emplace(
        name, TensorView{DType::kBF16, tensor.shape,
                         std::as_bytes(std::span(*values)).subspan(size(begin), size(end - begin)), values});
  }
  return FlatWeights{std::move(values), std::move(set)};
}

}  // namespace fulcrum
