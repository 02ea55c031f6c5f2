// hash64 (engine/core/hash.h) of each piece of an array of 16-bit numbers: 8 bytes for 16 KiB, by which
// weights in a device's memory and those that a host has made of them are compared.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

inline constexpr int64_t kHashedPiece = 8192;  // numbers

// hashes: [ceil(n / kHashedPiece)]; the last piece may be shorter. A device's kernel takes whole pieces.
void piece_hashes(const uint16_t* values, int64_t n, uint64_t* hashes);

}  // namespace fulcrum::kernels
