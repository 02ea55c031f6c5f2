// Whole models: log-probs, entropies and gradients on the device beside those on the CPU.
#include <ATen/TensorOperators.h>

#include <algorithm>

#include "bench/gpu/groups.h"
#include "bench/gpu/made_model.h"

namespace fulcrum::gpu_check {
namespace {

// The largest difference of a leaf's gradient, as a part of the largest gradient of that leaf.
void add_gradients(Worst& worst, const Said& got, const Said& want, const std::string& where) {
  for (size_t i = 0; i < want.gradients.size(); ++i) {
    const auto& [name, gradient] = want.gradients[i];
    const double largest = gradient.abs().max().item<double>() + 1e-6;
    worst.add((got.gradients[i].second - gradient).abs().max().item<double>() / largest, where + name);
  }
}

void check_fp32(const Family& family, const Way& way, const CheckOptions& options, Checks& checks) {
  const TrainBatch batch = mixed_batch(family.spec, options);
  Worst gradients;
  const std::string title = family.name + " in fp32, " + way.name;
  checks.check("log-probs, " + title, 1e-4, [&](Worst& worst) {
    const Said want = say(family.spec, batch, {});
    const Computing computing(way);
    const kernels::FallbackCounts before = kernels::fallback_counts();
    for (const bool recompute : {false, true}) {
      const std::string where = recompute ? "recomputed, " : "";
      const Said got =
          say(family.spec, batch, {.device = options.device, .gradient_checkpointing = recompute});
      worst.add(apart(got.logps, want.logps, 1), where + "log-probs");
      worst.add(apart(got.entropy, want.entropy, 1), where + "entropies");
      add_gradients(gradients, got, want, where);
    }
    require_kernels(way, before);
  });
  checks.check("gradients, " + title, 2e-4, [&](Worst& w) { w = gradients; });
}

// Rounding differs from place to place; what may not is how far it leads from the numbers in fp32.
void check_bf16(const Family& family, const Way& way, const CheckOptions& options, Checks& checks) {
  const TrainBatch batch = mixed_batch(family.spec, options);
  Worst gradients;
  const std::string title = family.name + " in bf16, " + way.name + ": error over the CPU's";
  checks.check("log-probs, " + title, 2, [&](Worst& worst) {
    const Said exact = say(family.spec, batch, {});
    const Said here = say(family.spec, batch, {.dtype = at::kBFloat16});
    const Computing computing(way);
    const kernels::FallbackCounts before = kernels::fallback_counts();
    const Said there = say(family.spec, batch, {.dtype = at::kBFloat16, .device = options.device});
    require_kernels(way, before);
    worst.add(distance(there.logps, exact.logps) / distance(here.logps, exact.logps), "log-probs");
    for (size_t i = 0; i < exact.gradients.size(); ++i) {
      const auto& [name, want] = exact.gradients[i];
      const double allowed = distance(here.gradients[i].second, want) + 0.0025;
      gradients.add(distance(there.gradients[i].second, want) / allowed, name);
    }
  });
  checks.check("gradients, " + title, 2, [&](Worst& w) { w = gradients; });
}

}  // namespace

void check_policies(const CheckOptions& options, Checks& checks) {
  for (const Family& family : families(options)) {
    for (const Way& way : ways(options)) {
      check_fp32(family, way, options, checks);
      check_bf16(family, way, options, checks);
    }
  }
}

}  // namespace fulcrum::gpu_check
