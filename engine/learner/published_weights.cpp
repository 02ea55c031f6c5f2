#include "engine/learner/published_weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "engine/kernels/piece_hashes/op.h"
#include "engine/learner/tensors.h"
#include "engine/publish/delta.h"
#include "policy/nn/device_call.h"
#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

using kernels::kHashedPiece;
using kernels::kTrainedPiece;
using kernels::WeightChange;

// One weight in so many may have changed: at 4 bytes each that is a quarter of the 2 bytes of every weight.
constexpr int64_t kShareThatCrosses = 8;

FlatLayout layout_of(const NamedTensors& leaves) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, leaf] : leaves) shapes.emplace(name, leaf.sizes().vec());
  return flat_layout(shapes);
}

// Those of the CPU where they lie.
TensorMap tensors_of(const NamedTensors& leaves) {
  TensorMap out;
  for (const auto& [name, leaf] : leaves) {
    if (!leaf.is_cpu()) {
      out.emplace(name, copy_out(leaf));
      continue;
    }
    const std::span values(leaf.const_data_ptr<float>(), static_cast<size_t>(leaf.numel()));
    out.emplace(name, TensorView{DType::kF32, leaf.sizes().vec(), std::as_bytes(values), nullptr});
  }
  return out;
}

at::Tensor numbers(int64_t n, at::ScalarType type, at::Device device) {
  return at::empty({n}, at::TensorOptions(device).dtype(type));
}

// Reads numbers of the device and counts their bytes.
class Reader {
 public:
  template <class T>
  std::vector<T> read(const at::Tensor& from) {
    std::vector<T> out(static_cast<size_t>(from.numel()));
    TORCH_CHECK(sizeof(T) == from.element_size());
    if (!out.empty()) at::from_blob(out.data(), from.sizes(), from.scalar_type()).copy_(from);
    bytes_ += static_cast<int64_t>(out.size() * sizeof(T));
    return out;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

// The kernel's changes, piece after piece of every tensor, as places of the buffer. kDataLoss: they are not
// what the kernel gives.
Result<std::vector<ChangedWeight>> places_of(const std::vector<WeightChange>& changes,
                                             const std::vector<int64_t>& begins, const FlatLayout& layout) {
  if (begins.front() != 0 || !std::is_sorted(begins.begin(), begins.end()))
    return data_loss("the device miscounts its changed weights");
  std::vector<ChangedWeight> out;
  out.reserve(changes.size());
  size_t piece = 0;
  for (const FlatLayout::Place& place : layout.places) {
    for (int64_t at = place.begin; at < place.begin + place.size; at += kTrainedPiece, ++piece) {
      for (int64_t i = begins[piece]; i < begins[piece + 1]; ++i) {
        const WeightChange change = changes[static_cast<size_t>(i)];
        out.push_back({static_cast<uint64_t>(at) + (change & 0xFFFF), static_cast<uint16_t>(change >> 16)});
      }
    }
  }
  return out;
}

std::vector<uint64_t> hashes_here(const FlatValues& values) {
  constexpr int64_t kPieces = 64;  // that a thread takes at a time
  const auto pieces = static_cast<int64_t>(values.size()) / kHashedPiece;
  std::vector<uint64_t> out(static_cast<size_t>(pieces));
  parallel_for((pieces + kPieces - 1) / kPieces, [&](int64_t i) {
    const int64_t first = i * kPieces, count = std::min(kPieces, pieces - first);
    kernels::piece_hashes(values.data() + first * kHashedPiece, count * kHashedPiece, out.data() + first);
  });
  return out;
}

// The host's values against the device's image by the hashes of both; the first weight that differs is looked
// for in its piece alone.
Status check_same(const FlatValues& values, const at::Tensor& image,
                  const std::vector<uint64_t>& hashes_there, const FlatLayout& layout) {
  const std::vector<uint64_t> here = hashes_here(values);
  const auto first = std::mismatch(here.begin(), here.end(), hashes_there.begin()).first;
  if (first == here.end()) return ok_status();
  int64_t differ = 0;
  for (size_t i = 0; i < here.size(); ++i) differ += here[i] != hashes_there[i] ? 1 : 0;
  const int64_t begin = (first - here.begin()) * kHashedPiece;
  const auto piece = Reader().read<uint16_t>(image.narrow(0, begin, kHashedPiece));
  const auto weight = std::mismatch(piece.begin(), piece.end(), values.begin() + begin).first;
  const int64_t at = begin + (weight - piece.begin());
  const auto place = std::find_if(layout.places.begin(), layout.places.end(),
                                  [&](const auto& p) { return p.begin + p.size > at; });
  return data_loss("the rounded weights on the host are not those of the device: " + std::to_string(differ) +
                   " of " + std::to_string(here.size()) + " pieces of 16 KiB differ, the first of them at " +
                   (place != layout.places.end() ? "tensor " + in_quotes(place->name) : "the end") +
                   "; nothing of this version was sent");
}

}  // namespace

Result<std::shared_ptr<const FlatWeights>> PublishedWeights::next(const NamedTensors& leaves) {
  const auto before = std::exchange(here_, nullptr);
  at::Tensor image = std::exchange(there_, {});
  const bool on_cpu = leaves[0].second.is_cpu();
  if (!on_cpu && kernels::device_kernels() != nullptr) {
    TRY(made, from_device(leaves, before.get(), image));
    there_ = std::move(image);
    here_ = std::make_shared<const FlatWeights>(std::move(made));
    return here_;
  }
  if (!on_cpu) kernels::note_fallback(kernels::Fallback::kWeightChanges);
  TRY(made, flatten_to_bf16(tensors_of(leaves)));
  if (!on_cpu) made.read_bytes = layout_of(leaves).weights * static_cast<int64_t>(sizeof(float));
  return std::make_shared<const FlatWeights>(std::move(made));
}

// Makes `image` the leaves' rounded weights; what was in it before is what changes are taken against.
PublishedWeights::Found PublishedWeights::round_there(const NamedTensors& leaves, const FlatLayout& layout,
                                                      const at::Tensor& image, int64_t room) {
  const at::Device device = image.device();
  std::vector<kernels::TrainedTensor> tensors;
  auto* const bits = static_cast<uint16_t*>(image.mutable_data_ptr());
  for (size_t i = 0; i < leaves.size(); ++i) {
    const FlatLayout::Place& place = layout.places[i];
    TORCH_CHECK(place.name == leaves[i].first, "leaves are not in the order of their names");
    tensors.push_back({.weights = leaves[i].second.detach().mutable_data_ptr<float>(),
                       .n = place.size,
                       .rounded = bits + place.begin});
  }
  const kernels::TrainedList list = list_.list(std::move(tensors), device);
  const int64_t pieces = layout.size / kHashedPiece;
  const Found out{numbers(list.pieces + 1, at::kLong, device), numbers(room, at::kInt, device),
                  numbers(pieces, at::kLong, device)};
  if_device_kernel(image, [&](const kernels::DeviceKernels& k, kernels::DeviceStream stream) {
    const kernels::ChangedWeights into{out.begins.mutable_data_ptr<int64_t>(),
                                       static_cast<WeightChange*>(out.changes.mutable_data_ptr()), room};
    const int error = k.weight_changes(list, into, stream);
    if (error != 0) return error;
    return k.piece_hashes(bits, pieces, static_cast<uint64_t*>(out.hashes.mutable_data_ptr()), stream);
  });
  return out;
}

Result<FlatWeights> PublishedWeights::from_device(const NamedTensors& leaves, const FlatWeights* before,
                                                  at::Tensor& image) {
  const FlatLayout layout = layout_of(leaves);
  if (before == nullptr) {
    image = at::zeros({layout.size}, at::TensorOptions(leaves[0].second.device()).dtype(at::kBFloat16));
  }
  const int64_t room = before != nullptr ? layout.weights / kShareThatCrosses : 0;
  const Found found = round_there(leaves, layout, image, room);
  Reader reader;
  const auto begins = reader.read<int64_t>(found.begins);
  const auto hashes = reader.read<uint64_t>(found.hashes);
  std::shared_ptr<FlatValues> values;
  std::optional<FlatChange> change;
  if (before != nullptr && begins.back() <= room) {
    const auto changes = reader.read<WeightChange>(found.changes.narrow(0, 0, begins.back()));
    values = std::make_shared<FlatValues>(*before->values);
    TRY(places, places_of(changes, begins, layout));
    TRY(delta, encode_changes(*values, places));
    if (delta) change = FlatChange{before->hash, std::make_shared<const std::string>(*std::move(delta))};
  } else {
    values = std::make_shared<FlatValues>(reader.read<uint16_t>(image));
  }
  TRY_DO(check_same(*values, image, hashes, layout));
  FlatWeights out = flat_weights(std::move(values), layout, flat_hash_of(hashes));
  out.change = std::move(change);
  out.read_bytes = reader.bytes();
  return out;
}

}  // namespace fulcrum
