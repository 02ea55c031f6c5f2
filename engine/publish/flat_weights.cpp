#include "engine/publish/flat_weights.h"

#include <utility>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "engine/kernels/aligned.h"
#include "engine/kernels/matmul_bf16/op.h"
#include "engine/kernels/piece_hashes/op.h"

namespace fulcrum {
namespace {

constexpr int64_t kWeightBytes = sizeof(uint16_t);

size_t index(int64_t n) { return static_cast<size_t>(n); }

}  // namespace

FlatLayout flat_layout(const std::map<std::string, std::vector<int64_t>>& shapes) {
  FlatLayout out;
  for (const auto& [name, shape] : shapes) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    const int64_t begin = kernels::round_up(out.size, kFlatAlignment / kWeightBytes);
    out.places.push_back({name, shape, begin, count});
    out.size = begin + count;
    out.weights += count;
  }
  out.size = kernels::round_up(out.size, kFlatMultiple / kWeightBytes);
  return out;
}

FlatWeights flat_weights(std::shared_ptr<const FlatValues> values, const FlatLayout& layout, uint64_t hash) {
  FlatWeights out{.values = std::move(values), .tensors = {}, .hash = hash, .change = {}};
  for (const FlatLayout::Place& place : layout.places) {
    const std::span bits = std::span(*out.values).subspan(index(place.begin), index(place.size));
    out.tensors.emplace(place.name, TensorView{DType::kBF16, place.shape, std::as_bytes(bits), out.values});
  }
  return out;
}

Result<FlatWeights> flatten_to_bf16(const TensorMap& tensors) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, tensor] : tensors) shapes.emplace(name, tensor.shape);
  const FlatLayout layout = flat_layout(shapes);
  auto values = std::make_shared<FlatValues>(index(layout.size));
  for (const FlatLayout::Place& place : layout.places) {
    const auto floats = to_float(tensors.at(place.name));
    if (!floats.ok()) return floats.status().with_context("weights: tensor " + in_quotes(place.name));
    // The kernel fills pairs: an odd tensor's last number has a neighbour, for which the alignment leaves
    // room.
    kernels::round_row_to_bf16(floats->data(), place.size, values->data() + place.begin);
  }
  const uint64_t hash = flat_hash(*values);
  return flat_weights(std::move(values), layout, hash);
}

uint64_t flat_hash(std::span<const uint16_t> values) {
  const auto n = static_cast<int64_t>(values.size());
  std::vector<uint64_t> hashes(index((n + kernels::kHashedPiece - 1) / kernels::kHashedPiece));
  kernels::piece_hashes(values.data(), n, hashes.data());
  return flat_hash_of(hashes);
}

uint64_t flat_hash_of(std::span<const uint64_t> piece_hashes) { return hash64(std::as_bytes(piece_hashes)); }

}  // namespace fulcrum
