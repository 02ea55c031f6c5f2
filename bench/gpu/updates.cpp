// Steps of AdamW with clipping, over leaves of many sizes, beside the CPU's.
#include <ATen/TensorOperators.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "bench/gpu/made_model.h"
#include "engine/learner/adamw.h"

namespace fulcrum::gpu_check {
namespace {

constexpr int kSteps = 5;

struct Result {
  NamedTensors leaves;
  std::vector<double> norms;
};

Result train(const CheckOptions& options, at::Device device) {
  const std::vector<std::vector<int64_t>> shapes =
      options.small ? std::vector<std::vector<int64_t>>{{7}, {3, 5}, {33, 17}}
                    : std::vector<std::vector<int64_t>>{{7}, {3, 5}, {4099}, {1031, 577}, {8192, 1024}};
  Result out;
  uint64_t seed = 50;
  for (const auto& shape : shapes) {
    const int64_t n = c10::multiply_integers(shape);
    const at::Tensor leaf = numbers(n, ++seed, 0.1).view(shape).to(device, at::kFloat, false, true);
    out.leaves.emplace_back("leaf" + std::to_string(seed), leaf.set_requires_grad(true));
  }
  LearnerConfig config;
  config.weight_decay = 0.01;
  AdamW adamw(out.leaves, config);
  for (int step = 0; step < kSteps; ++step) {
    for (auto& [name, leaf] : out.leaves)
      leaf.mutable_grad() = numbers(leaf.numel(), ++seed, 0.3).view(leaf.sizes()).to(device);
    const AdamW::Clipped update{adamw, 1e-3, config.max_grad_norm, {}};
    out.norms.push_back(AdamW::step_clipped({&update, 1}).norms.at(0));
  }
  return out;
}

}  // namespace

void check_updates(const CheckOptions& options, Checks& checks) {
  for (const Way& way : ways(options)) {
    checks.check("five steps of AdamW, " + way.name, 1e-5, [&](Worst& worst) {
      const Result want = train(options, at::kCPU);
      const Computing computing(way);
      const kernels::FallbackCounts before = kernels::fallback_counts();
      const Result got = train(options, options.device);
      require_kernels(way, before);
      for (int step = 0; step < kSteps; ++step) {
        const auto i = static_cast<size_t>(step);
        worst.add(std::abs(got.norms[i] / want.norms[i] - 1), "norm of step " + std::to_string(step + 1));
      }
      for (size_t i = 0; i < want.leaves.size(); ++i)
        worst.add(apart(got.leaves[i].second, want.leaves[i].second, 0.1), want.leaves[i].first);
    });
  }
}

}  // namespace fulcrum::gpu_check
