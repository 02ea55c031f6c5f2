// AdamW and the norm of gradients over lists of tensors beside the CPU's references.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <deque>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/adamw/op.h"
#include "engine/learner/device_adamw.h"
#include "policy/nn/device_call.h"

namespace fulcrum::gpu_check {
namespace {

using Tensors = std::vector<at::Tensor>;
using kernels::TrainedTensor;

constexpr double kNorm = 7.5, kMost = 2.5;
constexpr int64_t kWithoutGradient = 3;  // of the tensors

std::vector<int64_t> sizes(const CheckOptions& options) {
  std::vector<int64_t> out = {1, 3, 0, 255, 4, 1027, 8192, 5001};
  if (!options.small) out.insert(out.end(), {5'250'001, 16'777'216});
  return out;
}

at::ScalarType rounded_type(int64_t tensor) { return tensor % 2 == 0 ? at::kBFloat16 : at::kFloat; }

// What a tensor of a list has, on the CPU.
struct Numbers {
  Numbers(int64_t n, uint64_t seed)
      : gradient(numbers(n, 4 * seed + 1)),
        weights(numbers(n, 4 * seed + 2)),
        first(numbers(n, 4 * seed + 3)),
        second(numbers(n, 4 * seed + 4).square()) {
    if (n > 3) second[2] = 0;
  }
  at::Tensor gradient, weights, first, second;
};

std::vector<Numbers> all_numbers(const CheckOptions& options) {
  std::vector<Numbers> out;
  for (const int64_t n : sizes(options)) out.emplace_back(n, out.size());
  return out;
}

// The same between guards on the device, and the list of them there.
class OnDevice {
 public:
  OnDevice(const std::vector<Numbers>& all, at::Device device, int64_t offset) {
    std::vector<TrainedTensor> list;
    for (const Numbers& x : all) {
      const int64_t index = std::ssize(list);
      Arrays& to = arrays_.emplace_back(x, rounded_type(index), device, offset);
      list.push_back({.gradient = index == kWithoutGradient ? nullptr : to.gradient.data<float>(),
                      .weights = to.weights.data<float>(),
                      .first = to.first.data<float>(),
                      .second = to.second.data<float>(),
                      .n = x.weights.numel(),
                      .rounded = to.rounded.data<std::byte>(),
                      .rounded_as = activation_type(rounded_type(index)),
                      .decays = static_cast<int32_t>(index % 2)});
    }
    list_ = set_.list(std::move(list), device);
  }
  const kernels::TrainedList& list() const { return list_; }
  // Weights, moments and rounded weights, tensor by tensor.
  Tensors values() const {
    Tensors out;
    for (const Arrays& a : arrays_) {
      out.insert(out.end(), {a.weights.values(), a.first.values(), a.second.values(),
                             a.rounded.values().to(at::kFloat)});
    }
    return out;
  }

 private:
  struct Arrays {
    Arrays(const Numbers& x, at::ScalarType rounded_as, at::Device device, int64_t offset)
        : gradient(x.gradient, device, offset),
          weights(x.weights, device, offset),
          first(x.first, device, offset),
          second(x.second, device, offset),
          rounded(at::zeros({x.weights.numel()}, rounded_as), device, offset) {}
    Guarded gradient, weights, first, second, rounded;
  };
  std::deque<Arrays> arrays_;
  device::TrainedSet set_;
  kernels::TrainedList list_;
};

// One step of the reference on each.
void step_reference(std::vector<Numbers>& all, kernels::AdamwStep step) {
  step.gradient_scale = static_cast<float>(kMost / (kNorm + 1e-6));
  for (size_t i = 0; i < all.size(); ++i) {
    Numbers& x = all[i];
    kernels::AdamwStep its = step;
    if (i % 2 == 0) its.kept = 1;
    const int64_t n = x.weights.numel();
    const at::Tensor gradient = i == kWithoutGradient ? at::zeros({n}) : x.gradient;
    kernels::reference::adamw(its, gradient.data_ptr<float>(), n, x.weights.data_ptr<float>(),
                              x.first.data_ptr<float>(), x.second.data_ptr<float>());
  }
}

void check_adamw(const CheckOptions& options, const Kernels& k, Checks& checks) {
  const kernels::AdamwStep step{0.9F, 0.99F, 1e-8F, 1.3e-3F, 0.9995F, 0.4F, 0};
  const auto stepped = [&](double norm, int64_t offset) {
    const at::Tensor norms = at::full({1}, norm, at::TensorOptions(k.device).dtype(at::kDouble));
    const OnDevice there(all_numbers(options), k.device, offset);
    k.require(k.table.adamw(there.list(), step, {norms.const_data_ptr<double>(), 1, 0, kMost}, k.stream));
    return there.values();
  };
  checks.check("adamw", 1e-6, [&](Worst& worst) {
    std::vector<Numbers> want = all_numbers(options);
    step_reference(want, step);
    for (const int64_t offset : kOffsets) {
      const Tensors got = twice([&] { return stepped(kNorm, offset); });
      for (size_t i = 0; i < want.size(); ++i) {
        const std::string where = named({1, want[i].weights.numel()}, offset);
        worst.add(apart(got[4 * i], want[i].weights, 1), where + ", weights");
        worst.add(apart(got[4 * i + 1], want[i].first, 0.1), where + ", first moments");
        worst.add(apart(got[4 * i + 2], want[i].second, 0.1), where + ", second moments");
        const at::Tensor rounded = got[4 * i].to(at::kBFloat16).to(at::kFloat);
        TORCH_CHECK(apart(got[4 * i + 3], rounded, 1) == 0, "not the rounded weights: " + where);
      }
    }
  });
  checks.check("adamw without a finite norm", 0, [&](Worst& worst) {
    const std::vector<Numbers> want = all_numbers(options);
    const Tensors got = stepped(std::nan(""), 0);
    for (size_t i = 0; i < want.size(); ++i)
      worst.add(apart(got[4 * i], want[i].weights, 1), named({1, want[i].weights.numel()}, 0));
  });
}

void check_norm(const CheckOptions& options, const Kernels& k, Checks& checks) {
  checks.check("norm", 1e-6, [&](Worst& worst) {
    const std::vector<Numbers> all = all_numbers(options);
    at::Tensor want = at::zeros({1}, at::kDouble), aligned;
    for (size_t i = 0; i < all.size(); ++i)
      if (i != kWithoutGradient) want += all[i].gradient.square().sum(at::kDouble);
    for (const int64_t offset : kOffsets) {
      const at::Tensor got = twice([&] {
        const OnDevice there(all, k.device, offset);
        const Guarded sums(at::full({kernels::kSquareSums}, 1.5, at::kDouble), k.device, 0);
        const Guarded norm(at::full({1}, 1.5, at::kDouble), k.device, 0);
        k.require(k.table.norm(there.list(), sums.data<double>(), norm.data<double>(), k.stream));
        sums.values();  // looks at its guards
        return Tensors{norm.values()};
      })[0];
      if (aligned.defined()) TORCH_CHECK(apart(got, aligned, 1) == 0, "another norm at another address");
      aligned = got;
      worst.add(apart(got, want.sqrt(), 1e-3), offset != 0 ? "unaligned" : "aligned");
    }
  });
}

}  // namespace

void check_optimizer_kernels(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "adamw, norm");
  if (!k) return;
  check_adamw(options, *k, checks);
  check_norm(options, *k, checks);
}

}  // namespace fulcrum::gpu_check
