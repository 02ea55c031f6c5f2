#include "rollout/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "engine/core/rng.h"

namespace fulcrum {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kAlmostOne = 1.0 - 0x1p-53;

std::vector<float> random_logits(size_t n, uint64_t seed, double scale = 2.0) {
  Rng rng(seed, Purpose::kTest);
  std::vector<float> out;
  for (size_t i = 0; i < n; ++i) out.push_back(static_cast<float>(scale * rng.normal()));
  return out;
}

std::vector<double> softmax(std::vector<double> x) {
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - max);
  for (double& v : x) v /= sum;
  return x;
}

// Temperature, top_k, top_p, min_p as transformers' logits processors state them, in double; probabilities
// after all.
std::vector<double> filtered_distribution(const std::vector<float>& logits, const SamplingParams& p) {
  std::vector<double> scores(logits.begin(), logits.end());
  for (double& s : scores) s /= p.temperature;
  std::vector<size_t> ascending(scores.size());
  std::iota(ascending.begin(), ascending.end(), size_t{0});
  std::sort(ascending.begin(), ascending.end(),
            [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] < scores[b] : a > b; });
  const auto remove = [&](size_t i) { scores[i] = -std::numeric_limits<double>::infinity(); };
  if (p.top_k > 0 && static_cast<size_t>(p.top_k) < scores.size()) {
    const double kth = scores[ascending[scores.size() - static_cast<size_t>(p.top_k)]];
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] < kth) remove(i);
    }
  }
  if (p.top_p < 1) {
    const std::vector<double> probs = softmax(scores);
    double cumulative = 0;
    for (size_t i = 0; i + 1 < ascending.size(); ++i) {
      cumulative += probs[ascending[i]];
      if (cumulative <= 1 - p.top_p) remove(ascending[i]);
    }
  }
  const std::vector<double> probs = softmax(scores);
  const double best = *std::max_element(probs.begin(), probs.end());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (probs[i] < p.min_p * best) remove(i);
  }
  return softmax(scores);
}

SamplingParams params(double temperature, int64_t top_k = 0, double top_p = 1, double min_p = 0) {
  SamplingParams p;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  return p;
}

TEST(Sampler, DrawsTheInverseOfTheDistributionFunction) {
  // A grid of uniform numbers measures every token's interval to one cell on each side.
  constexpr int kCells = 20000;
  const std::vector<float> logits = random_logits(40, 1);
  for (const SamplingParams& p :
       {params(1), params(0.5), params(2), params(1, 5), params(1, 1), params(1, 0, 0.9), params(1, 0, 0.3),
        params(1, 0, 1, 0.1), params(0.8, 20, 0.95, 0.05), params(1.3, 3, 0.5, 0.01),
        params(1, 100, 0.999)}) {
    const std::vector<double> expected = filtered_distribution(logits, p);
    std::vector<int> cells(logits.size());
    Sampler sampler;
    TokenId before = 0;
    for (int i = 0; i < kCells; ++i) {
      const auto draw = sampler.draw(logits, p, (i + 0.5) / kCells);
      ASSERT_TRUE(draw.has_value());
      ASSERT_GE(draw->id, before) << "a larger number never draws a lower id";
      before = draw->id;
      ++cells[static_cast<size_t>(draw->id)];
    }
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_NEAR(cells[i] / double{kCells}, expected[i], 1.01 / kCells)
          << "id " << i << " top_k " << p.top_k << " top_p " << p.top_p;
      EXPECT_TRUE(expected[i] > 0 || cells[i] == 0) << "id " << i << " is outside the support";
    }
  }
}

TEST(Sampler, FollowsTheDistributionOverManyDraws) {
  const std::vector<float> logits = random_logits(50, 2, 1.0);
  const std::vector<double> expected = filtered_distribution(logits, params(1));
  const Rng noise(5, Purpose::kTest);
  Sampler sampler;
  constexpr int kDraws = 50000;
  std::vector<int> counts(logits.size());
  for (uint64_t i = 0; i < kDraws; ++i) {
    ++counts[static_cast<size_t>(sampler.draw(logits, params(1), noise.uniform53_at(i))->id)];
  }
  double chi_square = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = expected[i] * kDraws;
    chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
  }
  EXPECT_LT(chi_square, 85.4);  // 49 degrees of freedom: 99.9 %
  EXPECT_GT(chi_square, 23.9);  // and 0.1 %: too good would be a defect as well
}

TEST(Sampler, KeepsWhatTiesWithTheKthScore) {
  const std::vector<float> logits{1, 3, 2, 2, 0, 2};
  std::set<TokenId> drawn;
  Sampler sampler;
  for (int i = 0; i < 1000; ++i) drawn.insert(sampler.draw(logits, params(1, 2), (i + 0.5) / 1000)->id);
  EXPECT_EQ(drawn, (std::set<TokenId>{1, 2, 3, 5}));
}

TEST(Sampler, CutsTiesOfTheNucleusByTheLowerId) {
  const std::vector<float> logits(8, 0.0f);
  std::set<TokenId> drawn;
  Sampler sampler;
  for (int i = 0; i < 1000; ++i) drawn.insert(sampler.draw(logits, params(1, 0, 0.5), (i + 0.5) / 1000)->id);
  EXPECT_EQ(drawn, (std::set<TokenId>{0, 1, 2, 3}));
}

TEST(Sampler, FindsTheNucleusOfALargeVocabulary) {
  const std::vector<float> logits = random_logits(70001, 3, 1.5);
  for (const double p : {0.05, 0.6, 0.97}) {
    const std::vector<double> expected = filtered_distribution(logits, params(1, 0, p));
    Sampler sampler;
    size_t first = 0, last = expected.size() - 1;
    while (expected[first] == 0) ++first;
    while (expected[last] == 0) --last;
    EXPECT_EQ(sampler.draw(logits, params(1, 0, p), 0.0)->id, static_cast<TokenId>(first));
    EXPECT_EQ(sampler.draw(logits, params(1, 0, p), kAlmostOne)->id, static_cast<TokenId>(last));
    const Rng noise(1, Purpose::kTest);
    for (uint64_t i = 0; i < 200; ++i) {
      EXPECT_GT(
          expected[static_cast<size_t>(sampler.draw(logits, params(1, 0, p), noise.uniform53_at(i))->id)], 0);
    }
  }
}

TEST(Sampler, ReturnsTheUnfilteredLogProbAtTheTemperature) {
  const std::vector<float> logits = random_logits(300, 4);
  for (const double temperature : {0.3, 1.0, 1.7}) {
    std::vector<double> scaled;
    for (const float v : logits) scaled.push_back(v / temperature);
    const std::vector<double> probs = softmax(scaled);
    for (const int64_t top_k : {0, 1, 7}) {
      Sampler sampler;
      const Draw draw = *sampler.draw(logits, params(temperature, top_k, 0.9, 0.01), 0.4);
      EXPECT_NEAR(draw.logp, std::log(probs[static_cast<size_t>(draw.id)]), 2e-6);
    }
  }
}

TEST(Sampler, IsGreedyAtTemperatureZeroWithTheLogProbAtOne) {
  std::vector<float> logits = random_logits(300, 5);
  logits[17] = logits[203] = 30.0f;
  Sampler sampler;
  for (const double u : {0.0, 0.5, kAlmostOne}) {
    const Draw draw = *sampler.draw(logits, params(0), u);
    EXPECT_EQ(draw.id, 17);
    EXPECT_NEAR(draw.logp, std::log(0.5), 1e-6);
  }
}

TEST(Sampler, NeverDrawsWhatHasNoProbability) {
  std::vector<float> logits(600, -kInfinity);
  logits[3] = logits[300] = logits[310] = 1.0f;
  Sampler sampler;
  EXPECT_EQ(sampler.draw(logits, params(1), 0.0)->id, 3);
  EXPECT_EQ(sampler.draw(logits, params(1), 0.5)->id, 300);
  EXPECT_EQ(sampler.draw(logits, params(1), kAlmostOne)->id, 310);
  EXPECT_EQ(sampler.draw(logits, params(1, 0, 0.99), kAlmostOne)->id, 310);
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  Sampler sampler;
  for (const float bad : {std::nanf(""), kInfinity}) {
    std::vector<float> logits = random_logits(40, 6);
    logits[33] = bad;
    EXPECT_FALSE(sampler.draw(logits, params(1), 0.5).has_value());
    EXPECT_FALSE(sampler.draw(logits, params(0), 0.5).has_value());
  }
  EXPECT_FALSE(sampler.draw(std::vector<float>(9, -kInfinity), params(1), 0.5).has_value());
}

TEST(CheckSampling, NamesTheParameterThatIsOutOfRange) {
  EXPECT_TRUE(check_sampling(params(0)).ok());
  EXPECT_TRUE(check_sampling(params(1, 5, 0.9, 1)).ok());
  SamplingParams no_length, empty_stop;
  no_length.max_completion_length = 0;
  empty_stop.stop = {"ok", ""};
  const std::pair<SamplingParams, std::string> wrong[] = {
      {params(-1), "temperature"},
      {params(std::nan("")), "temperature"},
      {params(1e-30), "temperature is 1e-30, it must be 0 (greedy) or at least 1e-6"},
      {params(1, -1), "top_k"},
      {params(1, 0, 0), "top_p"},
      {params(1, 0, 1.5), "top_p"},
      {params(1, 0, 1, 2), "min_p"},
      {no_length, "max_completion_length"},
      {empty_stop, "stop"}};
  for (const auto& [p, name] : wrong) {
    const Status status = check_sampling(p);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace fulcrum
