// The hashes of pieces against hash64 of the host.
#include <span>

#include "engine/core/hash.h"
#include "engine/kernels/piece_hashes/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

std::vector<uint16_t> random_bits(int64_t n, uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  std::vector<uint16_t> out(static_cast<size_t>(n));
  for (uint16_t& x : out) x = static_cast<uint16_t>(rng.below(65536));
  return out;
}

std::vector<uint64_t> by_cuda(const std::vector<uint16_t>& values) {
  const int64_t pieces = static_cast<int64_t>(values.size()) / kHashedPiece;
  Guarded<uint16_t> in(values, 0);
  Guarded<uint64_t> out(static_cast<size_t>(pieces), 0);
  EXPECT_EQ(cuda::piece_hashes(in.data(), pieces, out.data(), nullptr), 0);
  return out.values();
}

std::vector<uint64_t> by_cpu(const std::vector<uint16_t>& values) {
  std::vector<uint64_t> out((values.size() + kHashedPiece - 1) / kHashedPiece);
  piece_hashes(values.data(), static_cast<int64_t>(values.size()), out.data());
  return out;
}

// Numbers of pieces that fill no warp, one, and more than a block of them.
TEST(CudaPieceHashes, AreThoseOfTheHost) {
  for (const int64_t pieces : {0, 1, 3, 4, 5, 33}) {
    const std::vector<uint16_t> values = random_bits(pieces * kHashedPiece, 1);
    expect_bits(by_cuda(values), by_cpu(values), (std::to_string(pieces) + " pieces").c_str());
  }
}

TEST(CudaPieceHashes, AreTheSameInEveryOrderOfThreads) {
  const std::vector<uint16_t> values = random_bits(5 * kHashedPiece, 2);
  in_every_order([&] { return std::vector<std::vector<uint64_t>>{by_cuda(values)}; });
}

TEST(CudaPieceHashes, SeeOneBitInItsPieceAlone) {
  std::vector<uint16_t> values = random_bits(3 * kHashedPiece, 3);
  const std::vector<uint64_t> before = by_cuda(values);
  for (const int64_t at : {kHashedPiece, kHashedPiece + 4097, 2 * kHashedPiece - 1}) {
    values[static_cast<size_t>(at)] ^= 1;
    const std::vector<uint64_t> after = by_cuda(values);
    EXPECT_EQ(after[0], before[0]);
    EXPECT_NE(after[1], before[1]) << at;
    EXPECT_EQ(after[2], before[2]);
    values[static_cast<size_t>(at)] ^= 1;
  }
}

TEST(PieceHashes, AreHash64OfEachPieceAndOfWhatIsLeft) {
  for (const int64_t n : {int64_t{0}, int64_t{1}, kHashedPiece - 1, kHashedPiece, 2 * kHashedPiece + 77}) {
    const std::vector<uint16_t> values = random_bits(n, 4);
    std::vector<uint64_t> want;
    for (int64_t begin = 0; begin < n; begin += kHashedPiece) {
      const auto count = static_cast<size_t>(std::min(kHashedPiece, n - begin));
      want.push_back(hash64(std::as_bytes(std::span(values).subspan(static_cast<size_t>(begin), count))));
    }
    EXPECT_EQ(by_cpu(values), want) << n;
  }
}

}  // namespace
}  // namespace fulcrum::kernels
