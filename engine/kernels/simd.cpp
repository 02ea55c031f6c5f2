#include "engine/kernels/simd.h"

#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/simd.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(Target);
std::string simd_target() { return HWY_DYNAMIC_DISPATCH(Target)(); }
bool is_emulated() {
  const std::string target = simd_target();
  return target == "SCALAR" || target == "EMU128";
}

void spin_pause() { hwy::Pause(); }

bool hold_to_target(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (name != hwy::TargetName(target)) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    return true;
  }
  hwy::GetChosenTarget().DeInit();
  return false;
}

}  // namespace fulcrum::kernels
#endif
