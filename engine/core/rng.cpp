#include "engine/core/rng.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace fulcrum {
namespace {

// splitmix64's finaliser: a bijection with full avalanche.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

uint64_t join(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }

}  // namespace

PhiloxBlock philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  PhiloxBlock c{static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

Rng::Rng(uint64_t seed, Purpose purpose, std::initializer_list<uint64_t> coordinates) {
  key_ = mix(seed + 0x9E3779B97F4A7C15ull);
  high_ = mix(static_cast<uint64_t>(purpose) + 1);
  for (const uint64_t c : coordinates) high_ = mix(high_ * 0x9E3779B97F4A7C15ull + c + 1);
}

float Rng::uniform_at(uint64_t i) const {
  return static_cast<float>(philox(key_, i, high_)[0] >> 8) * 0x1.0p-24f;
}

double Rng::uniform53_at(uint64_t i) const {
  const PhiloxBlock b = philox(key_, i, high_);
  return static_cast<double>(join(b[0], b[1]) >> 11) * 0x1.0p-53;
}

uint64_t Rng::next_u64() {
  const PhiloxBlock b = philox(key_, counter_++, high_);
  return join(b[0], b[1]);
}

double Rng::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }

uint64_t Rng::below(uint64_t bound) {
  // Rejects the incomplete last interval, so that every value has the same number of preimages.
  const uint64_t limit = UINT64_MAX - (UINT64_MAX % bound + 1) % bound;
  for (;;) {
    if (const uint64_t x = next_u64(); x <= limit) return x % bound;
  }
}

double Rng::normal() {
  const double u = 1.0 - uniform();  // (0, 1]
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<int64_t> Rng::permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  return order;
}

}  // namespace fulcrum
