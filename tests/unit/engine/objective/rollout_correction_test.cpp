#include "engine/objective/rollout_correction.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fulcrum {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor numbers(std::vector<double> x) { return at::tensor(x, at::kDouble); }

// Two rows of two tokens each.
class TwoRows {
 public:
  TwoRows() : input_(batch_) {
    for (int64_t r = 0; r < 2; ++r) batch_.rows.push_back({.target_begin = 2 * r, .target_end = 2 * r + 2});
    input_.row_N = at::tensor({0, 0, 1, 1}, at::kLong);
    input_.mask_N = at::ones({4}, at::kBool);
  }
  std::vector<double> weights(const RolloutCorrection& correction, std::vector<double> log_weights) const {
    const at::Tensor w = rollout_weights(correction, input_, numbers(std::move(log_weights)), input_.mask_N);
    return {w.const_data_ptr<double>(), w.const_data_ptr<double>() + w.numel()};
  }

 private:
  TrainBatch batch_;
  LossInput input_;
};

TEST(RolloutWeights, WhereSamplerAndLearnerAgreeEveryModeIsExactlyOne) {
  for (const char* mode : {"token_truncate", "token_mask", "sequence_truncate", "sequence_mask",
                           "geometric_truncate", "geometric_mask", "geometric_mask_token_weight"}) {
    const RolloutCorrection correction{.mode = *parse_correction_mode(mode)};
    EXPECT_EQ(TwoRows().weights(correction, {0, 0, 0, 0}), (std::vector<double>{1, 1, 1, 1})) << mode;
  }
}

TEST(RolloutWeights, TruncationKeepsATokenAndMaskingDropsIt) {
  const double big = std::log(10.0), small = std::log(0.1);
  RolloutCorrection c{.mode = CorrectionMode::kTokenTruncate, .cap = 2, .floor = 0.5};
  EXPECT_EQ(TwoRows().weights(c, {big, small, 0, 0}), (std::vector<double>{2, 0.5, 1, 1}));
  c.mode = CorrectionMode::kTokenMask;
  EXPECT_EQ(TwoRows().weights(c, {big, small, 0, 0}), (std::vector<double>{0, 0, 1, 1}));
}

TEST(RolloutWeights, ASequenceIsJudgedByItsProductAndItsGeometricMeanByTheLength) {
  const double two = std::log(2.0);
  const RolloutCorrection product{.mode = CorrectionMode::kSequenceMask, .cap = 3};
  EXPECT_EQ(TwoRows().weights(product, {two, two, 0, 0}), (std::vector<double>{0, 0, 1, 1}));
  const RolloutCorrection mean{.mode = CorrectionMode::kGeometricMaskTokenWeight, .cap = 3};
  const std::vector<double> kept = TwoRows().weights(mean, {2 * two, 0, 0, 0});
  EXPECT_DOUBLE_EQ(kept[0], 4);
  EXPECT_EQ(kept[1], 1);
}

TEST(RolloutWeights, ALongSequencesProductIsBoundedBeforeItIsExponentiated) {
  const RolloutCorrection c{.mode = CorrectionMode::kSequenceTruncate, .cap = kInfinity};
  EXPECT_DOUBLE_EQ(TwoRows().weights(c, {400, 400, 0, 0})[0], std::exp(20.0));
}

TEST(LogRolloutWeights, AMissingOrInfiniteLogProbOfTheSamplerGivesWeightOneAndIsReported) {
  const LogWeights w = log_rollout_weights(numbers({-1, -1, -1}), numbers({-kInfinity, std::nan(""), -2}));
  EXPECT_TRUE(at::equal(w.log_weight_N, numbers({0, 0, 1})));
  EXPECT_TRUE(at::equal(w.missing_N, at::tensor({1, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(log_rollout_weights(numbers({-1}), at::Tensor()).missing_N.all().item<bool>());
}

TEST(OffPolicyKeep, OnlyNegativeAdvantagesThatThePolicyHasLeftBehindAreDropped) {
  const at::Tensor kept = off_policy_keep(numbers({1, -1, -1, 0}), numbers({9, 0.1, 0.3, 9}), 0.2);
  EXPECT_TRUE(at::equal(kept, at::tensor({1, 1, 0, 1}).to(at::kBool)));
}

}  // namespace
}  // namespace fulcrum
