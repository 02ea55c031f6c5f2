// Which weights have changed, found on the device: the CPU's changes, and the bytes that a worker would get.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <deque>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/weight_changes/op.h"
#include "engine/learner/device_adamw.h"
#include "engine/publish/delta.h"

namespace fulcrum::gpu_check {
namespace {

using Bits = std::vector<uint16_t>;

std::vector<int64_t> sizes(const CheckOptions& options) {
  std::vector<int64_t> out = {1, 3, 0, 255, 4, 1027, 8192, 20'001};
  if (!options.small) out.insert(out.end(), {5'250'001, 16'777'216});
  return out;
}

std::span<uint16_t> bits_of(const at::Tensor& bf16) {
  return {reinterpret_cast<uint16_t*>(bf16.mutable_data_ptr()), static_cast<size_t>(bf16.numel())};
}

// Weights, and what was published of them: some other number where `changed` says.
struct Model {
  Model(const CheckOptions& options, double changed) {
    for (const int64_t n : sizes(options)) {
      const uint64_t seed = 3 * weights.size();
      weights.push_back(numbers(n, seed));
      published.push_back(weights.back().to(at::kBFloat16));
      const at::Tensor where = numbers(n, seed + 1), by = numbers(n, seed + 2, 3);
      const std::span<uint16_t> bits = bits_of(published.back());
      for (int64_t i = 0; i < n; ++i) {
        if (std::abs(where.data_ptr<float>()[i]) < changed)
          bits[static_cast<size_t>(i)] += static_cast<uint16_t>(static_cast<int>(by.data_ptr<float>()[i]));
      }
    }
  }
  std::vector<at::Tensor> weights, published;
};

Bits flat(const std::vector<at::Tensor>& tensors) {
  Bits out;
  for (const at::Tensor& t : tensors) {
    const auto bits = bits_of(t);
    out.insert(out.end(), bits.begin(), bits.end());
  }
  return out;
}

// The model between guards on the device, its changes found there.
class OnDevice {
 public:
  OnDevice(const Model& model, const Kernels& k, int64_t offset) {
    std::vector<kernels::TrainedTensor> list;
    int64_t place = 0;
    for (size_t i = 0; i < model.weights.size(); ++i) {
      const int64_t n = model.weights[i].numel();
      const auto& w = weights_.emplace_back(model.weights[i], k.device, offset);
      const auto& p = published_.emplace_back(model.published[i], k.device, offset);
      list.push_back({.weights = w.data<float>(), .n = n, .rounded = p.data<std::byte>()});
      for (int64_t at = 0; at < n; at += kernels::kTrainedPiece) places_.push_back(place + at);
      place += n;
    }
    device::TrainedSet set;
    const kernels::TrainedList there = set.list(std::move(list), k.device);
    const Guarded begins(at::full({there.pieces + 1}, -1, at::kLong), k.device, 0);
    const Guarded changes(at::full({place}, 0, at::kInt), k.device, offset);
    k.require(k.table.weight_changes(
        there, {begins.data<int64_t>(), changes.data<kernels::WeightChange>(), place}, k.stream));
    begins_ = begins.values();
    changes_ = changes.values();
  }
  // As the host unpacks them.
  std::vector<ChangedWeight> changes() const {
    std::vector<ChangedWeight> out;
    const auto* const begin = begins_.const_data_ptr<int64_t>();
    const auto* const packed = changes_.const_data_ptr<int32_t>();
    for (size_t piece = 0; piece < places_.size(); ++piece) {
      for (int64_t i = begin[piece]; i < begin[piece + 1]; ++i) {
        const auto change = static_cast<kernels::WeightChange>(packed[i]);
        out.push_back(
            {static_cast<uint64_t>(places_[piece]) + (change & 0xFFFF), static_cast<uint16_t>(change >> 16)});
      }
    }
    return out;
  }
  std::vector<at::Tensor> outputs() const {
    std::vector<at::Tensor> out = {begins_, changes_};
    for (const Guarded& p : published_) out.push_back(p.values().view(at::kShort).to(at::kInt));
    return out;
  }
  Bits published() const {
    std::vector<at::Tensor> out;
    for (const Guarded& p : published_) out.push_back(p.values());
    return flat(out);
  }

 private:
  std::deque<Guarded> weights_, published_;
  std::vector<int64_t> places_;  // of pieces among all weights
  at::Tensor begins_, changes_;
};

}  // namespace

void check_weight_changes(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "weight_changes");
  if (!k) return;
  checks.check("weight_changes", 0, [&](Worst& worst) {
    for (const double changed : {0.0, 0.01, 0.3}) {
      const Model model(options, changed);
      std::vector<at::Tensor> rounded;
      for (const at::Tensor& w : model.weights) rounded.push_back(w.to(at::kBFloat16));
      const Bits before = flat(model.published), after = flat(rounded);
      for (const int64_t offset : kOffsets) {
        twice([&] { return OnDevice(model, *k, offset).outputs(); });
        const OnDevice there(model, *k, offset);
        Bits made = before;
        const auto delta = encode_changes(made, there.changes());
        TORCH_CHECK(delta.ok(), delta.status().message());
        const std::string where =
            std::to_string(changed) + (offset != 0 ? " changed, unaligned" : " changed");
        worst.add(*delta == encode_delta(before, after) ? 0 : 1, where + ": the bytes for the workers");
        worst.add(made == after ? 0 : 1, where + ": the weights on the host");
        worst.add(there.published() == after ? 0 : 1, where + ": the weights on the device");
      }
    }
  });
}

}  // namespace fulcrum::gpu_check
