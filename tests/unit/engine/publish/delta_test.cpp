#include "engine/publish/delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine/core/half.h"
#include "engine/core/rng.h"

namespace fulcrum {
namespace {

using Weights = std::vector<uint16_t>;

Weights random_weights(size_t n, uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  Weights out(n);
  for (uint16_t& w : out) w = float_to_bf16(static_cast<float>(0.02 * rng.normal()));
  return out;
}

// apply(encode(a, b), a) == b.
void expect_round_trip(const Weights& from, const Weights& to) {
  const auto delta = encode_delta(from, to);
  ASSERT_TRUE(delta.has_value());
  EXPECT_LE(delta->size(), from.size());
  Weights made = from;
  const Status status = apply_delta(*delta, made);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(made == to);
}

TEST(Delta, MakesTheNextWeightsOfTheBase) {
  Rng rng(3, Purpose::kTest);
  const Weights base = random_weights(10'007, 1);
  for (const double density : {0.0, 0.0001, 0.001, 0.01, 0.1, 0.3}) {
    for (const bool far : {false, true}) {
      Weights next = base;
      for (uint16_t& w : next) {
        if (rng.uniform() >= density * (far ? 0.4 : 1)) continue;
        w = static_cast<uint16_t>(far ? rng.below(65536) : w + (rng.below(2) == 0 ? 1u : 65535u));
      }
      SCOPED_TRACE(density);
      expect_round_trip(base, next);
    }
  }
}

TEST(Delta, OfKnownChangesIsThatOfTheWeights) {
  Rng rng(4, Purpose::kTest);
  for (const size_t n : {size_t{0}, size_t{1}, size_t{1000}, size_t{10'007}}) {
    const Weights base = random_weights(n, 1);
    for (const double density : {0.0, 0.001, 0.05, 0.3, 0.6, 1.0}) {
      Weights next = base;
      std::vector<ChangedWeight> changes;
      for (size_t i = 0; i < n; ++i) {
        if (rng.uniform() >= density) continue;
        next[i] = static_cast<uint16_t>(rng.below(3) == 0 ? rng.below(65536) : next[i] + 1);
        if (next[i] != base[i]) changes.push_back({i, next[i]});
      }
      Weights made = base;
      const auto got = encode_changes(made, changes);
      ASSERT_TRUE(got.ok()) << got.status().message();
      EXPECT_TRUE(*got == encode_delta(base, next)) << n << ", " << density;
      EXPECT_TRUE(made == next);
    }
  }
}

TEST(Delta, RefusesChangesThatAreNone) {
  const Weights base = random_weights(100, 1);
  const auto changed = [&](size_t at) { return ChangedWeight{at, static_cast<uint16_t>(base[at] + 1)}; };
  const std::vector<std::vector<ChangedWeight>> bad = {
      {{100, 0}}, {changed(5), changed(4)}, {changed(5), changed(5)}, {{7, base[7]}}, {{1u << 31, 0}}};
  for (const auto& changes : bad) {
    Weights weights = base;
    EXPECT_EQ(encode_changes(weights, changes).status().code(), Code::kDataLoss);
  }
}

TEST(Delta, MakesTheNextWeightsWhereOnlyTheEndsOrTheLimitsOfItsNumbersChange) {
  const Weights base = random_weights(1000, 1);
  for (const size_t at : {0, 1, 254, 255, 256, 509, 510, 511, 999}) {
    for (const int step : {-32768, -9, -8, -7, -1, 1, 7, 8, 9, 32767}) {
      Weights next = base;
      next[at] = static_cast<uint16_t>(next[at] + step);
      SCOPED_TRACE(std::to_string(at) + " " + std::to_string(step));
      expect_round_trip(base, next);
    }
  }
  Weights both = base;
  ++both.front();
  --both.back();
  expect_round_trip(base, both);
  expect_round_trip(base, base);
}

TEST(Delta, OfDenseOrTinyOrOtherWeightsIsNone) {
  const Weights base = random_weights(10'000, 1), other = random_weights(10'000, 2);
  EXPECT_FALSE(encode_delta(base, other)) << "sent whole it is shorter";
  EXPECT_FALSE(encode_delta({}, {}));
  EXPECT_FALSE(encode_delta(base, std::span(other).first(9'999)));
}

// What a learner does to bf16 weights at the learning rate of reinforcement learning: Adam moves each fp32
// master weight by about the learning rate. Of normal weights that is one in twenty-five that changes, most
// of them near 0, where bf16 is fine.
TEST(Delta, OfAStepAtAnRlLearningRateIsTwentyFiveTimesSmallerThanTheWeights) {
  constexpr size_t kWeights = 400'000;
  Rng rng(5, Purpose::kTest);
  Weights base(kWeights), next(kWeights);
  size_t changed = 0;
  for (size_t i = 0; i < kWeights; ++i) {
    const auto master = static_cast<float>(0.02 * rng.normal());
    base[i] = float_to_bf16(master);
    next[i] = float_to_bf16(master + (rng.below(2) == 0 ? 1e-6f : -1e-6f));
    changed += base[i] != next[i];
  }
  const auto delta = encode_delta(base, next);
  ASSERT_TRUE(delta.has_value());
  EXPECT_GT(changed, kWeights / 50);
  EXPECT_LT(delta->size() * 25, 2 * kWeights) << changed << " changed";
  expect_round_trip(base, next);
}

TEST(Delta, OfOnePercentInTheLastPlaceIsAHundredTimesSmaller) {
  Rng rng(6, Purpose::kTest);
  const Weights base = random_weights(400'000, 1);
  Weights next = base;
  for (uint16_t& w : next) {
    if (rng.below(100) == 0) w = static_cast<uint16_t>(w + (rng.below(2) == 0 ? 1u : 65535u));
  }
  const auto delta = encode_delta(base, next);
  ASSERT_TRUE(delta.has_value());
  EXPECT_LT(delta->size() * 100, 2 * base.size());
}

TEST(Delta, ThatIsDamagedIsRefused) {
  const Weights base = random_weights(600, 1);
  Weights next = base;
  for (size_t i = 3; i < next.size(); i += 37)
    next[i] = static_cast<uint16_t>(next[i] + (i % 2 == 0 ? 1 : 300));
  const std::string good = *encode_delta(base, next);
  const auto refuses = [&](const std::string& delta, size_t weights = 600) {
    Weights into(weights);
    return apply_delta(delta, into).code() == Code::kDataLoss;
  };
  EXPECT_FALSE(refuses(good));
  EXPECT_TRUE(refuses(good, 599)) << "of other weights";
  EXPECT_TRUE(refuses(good, 601));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_TRUE(refuses(good.substr(0, size))) << size;
  EXPECT_TRUE(refuses(good + '\0'));
  for (size_t number = 0; number < 4; ++number) {
    for (const int by : {-1, 1}) {
      std::string bad = good;
      bad[8 * number] = static_cast<char>(bad[8 * number] + by);
      EXPECT_TRUE(refuses(bad)) << "number " << number << " of the header, " << by;
    }
    std::string bad = good;
    bad[8 * number + 7] = '\x7F';
    EXPECT_TRUE(refuses(bad)) << "number " << number << " of the header is enormous";
  }
  std::string far = good;
  far[32] = static_cast<char>(254);  // the first gap
  EXPECT_TRUE(refuses(far)) << "beyond the weights";
}

}  // namespace
}  // namespace fulcrum
