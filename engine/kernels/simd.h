// What the kernels run on. Every kernel gives the same bits on every instruction set: sums have an order that
// does not depend on the vector width, and every multiply-add is fused. Thread-safe.
#pragma once

#include <string>

namespace fulcrum::kernels {

// The instruction set chosen at run time, in Highway's words: "AVX3" (AVX-512), "AVX2", "NEON", "SCALAR".
std::string simd_target();
// There is none with fused multiply-adds (x86: AVX2 or newer): every kernel works, many times slower.
bool is_emulated();

// From now on all kernels run on the named one; false, and they run on what the machine chooses, if it or
// this build does not have it. For measurements that must compare between machines; no kernel may run
// meanwhile.
bool hold_to_target(const std::string& name);

// For a thread that only watches another's memory: leaves the core to whoever shares it.
void spin_pause();

}  // namespace fulcrum::kernels
