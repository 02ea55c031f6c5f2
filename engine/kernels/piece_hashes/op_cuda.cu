// hash64 of whole pieces (op.h): eight threads a piece, each with a lane of the hash, so that a piece's words
// are read 64 bytes at a time. It is bound by that reading: a word costs a multiplication and three
// operations.
#include "engine/core/hash_step.h"
#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {
namespace {

constexpr int64_t kPieceBytes = kHashedPiece * int64_t{sizeof(uint16_t)};
constexpr int64_t kPieceWords = kPieceBytes / int64_t{sizeof(uint64_t)};
constexpr int64_t kLaneWords = kPieceWords / kHash64Lanes;
static_assert(kLaneWords * kHash64Lanes == kPieceWords);

// All threads of a warp walk together, those beyond the last piece too: they give each other their lanes.
__global__ void __launch_bounds__(kItemThreads)
    hash_pieces(const uint64_t* words, int64_t pieces, uint64_t* hashes) {
  const int64_t items = pieces * kHash64Lanes;
  for (int64_t first = int64_t{blockIdx.x} * blockDim.x; first < items; first += item_step()) {
    const int64_t piece = (first + threadIdx.x) / kHash64Lanes;
    const unsigned own = threadIdx.x % kHash64Lanes;
    uint64_t lane = hash64_step(0, own + 1);
    if (piece < pieces) {
      const uint64_t* const mine = words + piece * kPieceWords + own;
#pragma unroll 8
      for (int64_t i = 0; i < kLaneWords; ++i) lane = hash64_step(lane, mine[i * kHash64Lanes]);
    }
    lane = hash64_step(lane, 0);  // a piece of whole rounds has nothing behind them
    uint64_t hash = hash64_step(0, kPieceBytes);
    for (int i = 0; i < kHash64Lanes; ++i)
      hash = hash64_step(hash, __shfl_sync(kAllLanes, lane, i, kHash64Lanes));
    if (own == 0 && piece < pieces) hashes[piece] = hash;
  }
}

}  // namespace

int piece_hashes(const uint16_t* values, int64_t pieces, uint64_t* hashes, DeviceStream stream) {
  return launch<hash_pieces>(item_blocks(pieces * kHash64Lanes), kItemThreads, stream,
                             reinterpret_cast<const uint64_t*>(values), pieces, hashes);
}

}  // namespace fulcrum::kernels::cuda
