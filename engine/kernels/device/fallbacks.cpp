#include "engine/kernels/device/fallbacks.h"

#include <atomic>

namespace fulcrum::kernels {
namespace {

std::array<std::atomic<int64_t>, kFallbackNames.size()> counts;

}  // namespace

void note_fallback(Fallback what, int64_t times) {
  counts[static_cast<size_t>(what)].fetch_add(times, std::memory_order_relaxed);
}

FallbackCounts fallback_counts() {
  FallbackCounts out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = counts[i].load(std::memory_order_relaxed);
  return out;
}

}  // namespace fulcrum::kernels
