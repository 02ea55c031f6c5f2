#include "engine/kernels/row_divergence/op.h"

#include <hwy/targets.h>

#include <cmath>

#include "engine/kernels/row_divergence/target.h"

namespace fulcrum::kernels {
namespace {

struct Functions {
  ValueFunction* value = nullptr;
  GradientFunction* gradient = nullptr;
};

Functions functions() {
#if HWY_ARCH_X86
  const auto supported = hwy::SupportedTargets();
  if (supported & HWY_AVX3) return {row_divergence_value_avx512, row_divergence_gradient_avx512};
  if (supported & HWY_AVX2) return {row_divergence_value_avx2, row_divergence_gradient_avx2};
#endif
  return {};
}

DivergenceTask task(int entry, const DivergenceOptions& options, const DivergenceRow& row) {
  return {entry,         options.alpha, options.js_scale, row.policy,
          row.reference, row.n,         row.policy_lse,   row.reference_lse};
}

}  // namespace

std::optional<RowDivergence> RowDivergence::find(std::string_view name, const DivergenceOptions& options) {
  constexpr double kLargestAlpha = 3;
  if (functions().value == nullptr || std::abs(options.alpha) > kLargestAlpha) return std::nullopt;
  int entry = 0;
  for (const std::string& known : divergence_names()) {
    if (known == name) return RowDivergence(entry, options);
    ++entry;
  }
  return std::nullopt;
}

std::optional<double> RowDivergence::value(const DivergenceRow& row) const {
  double value = 0;
  if (!functions().value(task(entry_, options_, row), &value)) return std::nullopt;
  return value;
}

bool RowDivergence::gradient(const DivergenceRow& row, const Upstream& upstream) const {
  return functions().gradient(task(entry_, options_, row), upstream.logp, upstream.divergence, upstream.id);
}

}  // namespace fulcrum::kernels
