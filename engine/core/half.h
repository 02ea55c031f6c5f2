// 16-bit floats to and from fp32 by their bits: those of checkpoints, of the wire and of bf16 decode. Called
// by the readers and writers of weights and by engine/kernels. Pure functions, thread-safe.
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

// Round to nearest, ties to even; overflow (from 65520) gives infinity, NaN stays NaN.
inline uint16_t float_to_fp16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 2^16
  if (magnitude < 0x38800000u) {  // below 2^-14: subnormal; the ulp of 0.5 is fp16's smallest step, 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5F)));
  }
  magnitude += 0xFFFu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (magnitude - 0x38000000u) >> 13);  // bias 127 -> 15
}

}  // namespace fulcrum
