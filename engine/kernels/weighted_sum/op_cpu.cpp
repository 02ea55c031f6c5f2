#include <vector>

#include "engine/kernels/targets.h"
#include "engine/kernels/weighted_sum/op.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/weighted_sum/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

bool WeightedSum(std::span<const WeightedInput> inputs, int64_t n, float* out) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<float, decltype(wide)> narrow;
  const auto lanes = static_cast<int64_t>(hn::Lanes(wide));
  // 0 x is 0 as long as x is finite.
  auto nothing = hn::Zero(narrow);
  auto largest = hn::Zero(wide);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto sum = hn::Zero(wide);
    for (size_t m = 0; m < inputs.size(); ++m) {
      const auto x = hn::LoadU(narrow, inputs[m].x + i);
      const auto product = hn::Mul(hn::Set(wide, inputs[m].weight), hn::PromoteTo(wide, x));
      sum = m == 0 ? product : hn::Add(sum, product);
      nothing = hn::Add(nothing, hn::Mul(x, hn::Zero(narrow)));
    }
    largest = hn::Max(largest, hn::Abs(sum));
    hn::StoreU(hn::DemoteTo(narrow, sum), narrow, out + i);
  }
  constexpr double kRoundsToInfinity = 0x1.ffffffp127;
  const bool finite = hn::AllTrue(narrow, hn::Eq(nothing, hn::Zero(narrow))) &&
                      hn::AllTrue(wide, hn::Lt(largest, hn::Set(wide, kRoundsToInfinity)));
  std::vector<WeightedInput> rest(inputs.begin(), inputs.end());
  for (WeightedInput& input : rest) input.x += i;
  return reference::weighted_sum(rest, n - i, out + i) && finite;
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(WeightedSum);
bool weighted_sum(std::span<const WeightedInput> inputs, int64_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(WeightedSum)(inputs, n, out);
}

}  // namespace fulcrum::kernels
#endif
