// How often this process computed something the plain way because no kernel was there for it, or none that
// takes its shape: the metrics perf/fallback/*. Called where a kernel is chosen. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fulcrum::kernels {

enum class Fallback : size_t {
  kRmsNorm,
  kSwiglu,
  kAttention,
  kTokenLoss,
  kDivergence,
  kAdamw,
  kWeightChanges
};
inline constexpr std::array kFallbackNames = {"rmsnorm",    "swiglu", "attention",     "token_loss",
                                              "divergence", "adamw",  "weight_changes"};

using FallbackCounts = std::array<int64_t, kFallbackNames.size()>;

void note_fallback(Fallback what, int64_t times = 1);
FallbackCounts fallback_counts();  // since the process began

}  // namespace fulcrum::kernels
