// The arithmetic of hash64 (hash.h), which a kernel of a device repeats (engine/kernels/piece_hashes). Pure.
#pragma once

#include <cstdint>

namespace fulcrum {

// Words of 8 bytes go round these: word i into lane i % kHash64Lanes, which begins as hash64_step(0, lane +
// 1).
inline constexpr int kHash64Lanes = 8;

// One step of a lane: an invertible function of the lane for every word, so that two inputs that differ in
// one word never meet.
constexpr uint64_t hash64_step(uint64_t lane, uint64_t word) {
  lane = (lane ^ word) * 0x9E3779B97F4A7C15u;
  return lane ^ lane >> 32;
}

}  // namespace fulcrum
