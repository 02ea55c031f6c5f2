#include "engine/reference/greedy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/reference/learned_weights.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two items; what a soup scores is the sum of what its ingredients bring, plus a noise that differs by item.
struct World {
  std::vector<double> gain;
  double noise = 0;

  Result<Scores> operator()(std::span<const double> weights) const {
    double score = 0, used = 0;
    for (size_t m = 0; m < gain.size(); ++m) {
      if (weights[m] == 0) continue;
      score += gain[m];
      used += 1;
    }
    return Scores{score + noise * used, score - noise * used};
  }
};

TEST(Greedy, TakesWhatImprovesBestFirstAndLeavesTheRest) {
  const GreedyPath path = *greedy_soup(4, {.margin = 0}, World{{1, 3, -2, 3}});
  EXPECT_THAT(path.order, ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(path.ingredients, ElementsAre(1, 3, 0));
  EXPECT_THAT(path.best_after_each, ElementsAre(3, 6, 7, 7));
  EXPECT_THAT(uniform_over(path.ingredients, 4), ElementsAre(1.0 / 3, 1.0 / 3, 0, 1.0 / 3));
}

TEST(Greedy, WantsAGainAboveTheNoiseOfThePairedDifference) {
  // The second model brings 1 with a standard error of 2.
  const World noisy{{5, 1}, 2};
  EXPECT_THAT(greedy_soup(2, {.margin = 1}, noisy)->ingredients, ElementsAre(0));
  EXPECT_THAT(greedy_soup(2, {.margin = 0.4}, noisy)->ingredients, ElementsAre(0, 1));
}

TEST(Greedy, AnEqualScoreComesInOnlyWhereThatIsAsked) {
  const World still{{1, 0}};
  EXPECT_THAT(greedy_soup(2, {.margin = 0}, still)->ingredients, ElementsAre(0));
  EXPECT_THAT(greedy_soup(2, {.margin = 0, .accept_equal = true}, still)->ingredients, ElementsAre(0, 1));
}

TEST(Greedy, RefusesScoresThatCannotBeCompared) {
  const auto one = [](std::span<const double>) -> Result<Scores> { return Scores{1.0}; };
  EXPECT_THAT(greedy_soup(2, {.margin = 1}, one).status().message(), HasSubstr("at least two"));
  const auto nan = [](std::span<const double>) -> Result<Scores> { return Scores{std::nan(""), 1.0}; };
  EXPECT_THAT(greedy_soup(2, {}, nan).status().message(), HasSubstr("infinite or NaN"));
  EXPECT_FALSE(greedy_soup(0, {}, one).ok());
}

TEST(LearnedWeights, GradientIsThatOfFiniteDifferences) {
  // L = 0.5 |sum_i w_i theta_i - target|^2 with three models of one number.
  const std::vector<double> theta = {1, -2, 4}, raw = {0.3, -0.1, 0.6};
  const double target = 0.5;
  const auto mixed = [&](const std::vector<double>& r) {
    const std::vector<double> w = softmax_weights(r);
    return w[0] * theta[0] + w[1] * theta[1] + w[2] * theta[2];
  };
  std::vector<double> products;
  for (const double t : theta) products.push_back((mixed(raw) - target) * t);
  const std::vector<double> gradient = raw_weight_gradient(softmax_weights(raw), products);
  for (size_t i = 0; i < raw.size(); ++i) {
    constexpr double kStep = 1e-5;
    std::vector<double> up = raw, down = raw;
    up[i] += kStep;
    down[i] -= kStep;
    const auto loss = [&](const std::vector<double>& r) { return 0.5 * std::pow(mixed(r) - target, 2); };
    EXPECT_NEAR(gradient[i], (loss(up) - loss(down)) / (2 * kStep), 1e-9);
  }
}

}  // namespace
}  // namespace fulcrum
