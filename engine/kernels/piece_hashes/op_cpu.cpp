#include <algorithm>
#include <span>

#include "engine/core/hash.h"
#include "engine/kernels/piece_hashes/op.h"

namespace fulcrum::kernels {

void piece_hashes(const uint16_t* values, int64_t n, uint64_t* hashes) {
  for (int64_t begin = 0; begin < n; begin += kHashedPiece) {
    const auto count = static_cast<size_t>(std::min(kHashedPiece, n - begin));
    *hashes++ = hash64(std::as_bytes(std::span(values + begin, count)));
  }
}

}  // namespace fulcrum::kernels
