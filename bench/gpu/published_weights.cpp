// Versions of the weights as a learner on the device publishes them in bf16, beside a copy of all of them
// that is rounded on the host.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "bench/gpu/made_model.h"
#include "engine/learner/published_weights.h"
#include "engine/reference/parameters.h"

namespace fulcrum::gpu_check {
namespace {

NamedTensors leaves_on(const CheckOptions& options) {
  const std::vector<std::vector<int64_t>> shapes =
      options.small ? std::vector<std::vector<int64_t>>{{7}, {3, 5}, {133, 97}}
                    : std::vector<std::vector<int64_t>>{{7}, {3, 5}, {4099}, {1031, 577}, {8192, 1024}};
  NamedTensors out;
  for (const auto& shape : shapes) {
    const uint64_t seed = 71 + out.size();
    const at::Tensor values = numbers(c10::multiply_integers(shape), seed, 0.02).view(shape);
    out.emplace_back("leaf" + std::to_string(seed), values.to(options.device, at::kFloat, false, true));
  }
  return out;
}

// Moves every weight by about this part of itself.
void move(const NamedTensors& leaves, double by, uint64_t seed) {
  for (const auto& [name, leaf] : leaves)
    leaf.mul_(numbers(leaf.numel(), ++seed, by).view(leaf.sizes()).to(leaf.device()) + 1);
}

}  // namespace

void check_published_weights(const CheckOptions& options, Checks& checks) {
  for (const Way& way : ways(options)) {
    checks.check("published weights, " + way.name, 0, [&](Worst& worst) {
      const at::NoGradGuard no_gradients;
      const Computing computing(way);
      const kernels::FallbackCounts before = kernels::fallback_counts();
      const NamedTensors leaves = leaves_on(options);
      PublishedWeights published;
      uint64_t seed = 100;
      for (const double by : {0.0, 1e-5, 0.0, 0.1, 1e-4}) {
        move(leaves, by, seed += 10);
        const auto got = need(published.next(leaves));
        const FlatWeights want = need(flatten_to_bf16(copy_tensors(leaves)));
        int64_t differ = got->hash == want.hash ? 0 : 1;
        for (size_t i = 0; i < want.values->size(); ++i)
          differ += (*got->values)[i] == (*want.values)[i] ? 0 : 1;
        worst.add(static_cast<double>(differ),
                  "moved by " + std::to_string(by) + ", " + std::to_string(got->read_bytes) + " bytes read");
      }
      require_kernels(way, before);
    });
  }
}

}  // namespace fulcrum::gpu_check
