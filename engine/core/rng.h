// The one source of randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011), a pure function of (key, counter). Whatever is random in a run (order of data, sampling noise,
// weight initialisation) is drawn from a key made of (seed, purpose, step, index, ...), so a lost item is
// redone with the same bits, on any worker, in any order. Values, no state shared between threads.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace fulcrum {

using PhiloxBlock = std::array<uint32_t, 4>;

// One block: 128 random bits for a 64-bit key and a 128-bit counter (low word first).
PhiloxBlock philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

// What a stream of numbers is for; part of the key, so that no two uses share bits.
enum class Purpose : uint64_t {
  kTest = 0,
  kDataOrder = 1,
  kSampling = 2,
  kInitialWeights = 3,
  kPresample = 4,
  kDemo = 5,
  kEvaluation = 6,
  kMiniBatches = 7
};

class Rng {
 public:
  // The stream of (seed, purpose, coordinates...): the coordinates are mixed, order matters.
  Rng(uint64_t seed, Purpose purpose, std::initializer_list<uint64_t> coordinates = {});

  // Number `i` of the stream, in [0, 1) with 24 random bits; does not advance the stream.
  float uniform_at(uint64_t i) const;
  // Number `i` of the stream, in [0, 1) with 53 random bits; does not advance the stream.
  double uniform53_at(uint64_t i) const;

  uint64_t next_u64();
  double uniform();                // [0, 1), 53 bits
  uint64_t below(uint64_t bound);  // [0, bound), unbiased; bound > 0
  double normal();                 // Box-Muller on two uniforms

  // 0..n-1 in random order (Fisher-Yates).
  std::vector<int64_t> permutation(int64_t n);

 private:
  uint64_t key_;
  uint64_t high_;
  uint64_t counter_ = 0;
};

}  // namespace fulcrum
