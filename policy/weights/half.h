// The 16-bit floats of checkpoints, to and from fp32 by their bits. Called by the readers and writers of
// weights. Pure functions, thread-safe.
#pragma once

#include <bit>
#include <cstdint>

namespace fulcrum {

// IEEE binary16; exact, subnormals, infinities and NaN payloads included.
inline float fp16_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1Fu, mantissa = bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
  if (exponent == 0) {  // mantissa * 2^-24, a normal fp32 number
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24f));
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);  // bias 15 -> 127
}

// bfloat16 is the upper half of fp32; exact.
inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Round to nearest, ties to even; overflow gives infinity, NaN stays NaN (made quiet, so that no payload
// rounds to infinity).
inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace fulcrum
