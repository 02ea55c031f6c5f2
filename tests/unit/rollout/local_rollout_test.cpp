#include "rollout/local_rollout.h"

#include <gtest/gtest.h>

#include "rollout/fingerprint.h"
#include "rollout/sampling_config.h"
#include "tests/unit/rollout/rollout_testing.h"

namespace fulcrum {
namespace {

using testing::PairTokenizer;
using testing::request;
using testing::same_bits;

std::shared_ptr<const WeightSet> weights(PolicyVersion version, uint64_t seed) {
  const ModelSpec spec = testing::small_spec();
  return std::make_shared<WeightSet>(WeightSet{version, spec, testing::small_weights(spec, seed)});
}

TEST(LocalRollout, GeneratesWithExactlyTheVersionAskedFor) {
  LocalRollout rollout(std::make_shared<PairTokenizer>(), {}, 2);
  ASSERT_TRUE(rollout.publish(weights({0, 0}, 1)).ok());
  ASSERT_TRUE(rollout.publish(weights({0, 1}, 2)).ok());
  const std::vector<RolloutRequest> requests{request(0, 4, 3)};
  for (const int64_t step : {0, 1, 0}) {
    const auto groups = rollout.generate(requests, {0, step}, {});
    ASSERT_TRUE(groups.ok()) << groups.status().message();
    Generator direct(testing::small_model(static_cast<uint64_t>(step) + 1), std::make_shared<PairTokenizer>(),
                     {});
    EXPECT_TRUE(same_bits(*groups, *direct.generate(requests, {0, step}, {})));
  }
}

TEST(LocalRollout, RefusesAVersionItDoesNotHave) {
  LocalRollout rollout(std::make_shared<PairTokenizer>(), {}, 2);
  const std::vector<RolloutRequest> requests{request(0, 4, 1)};
  EXPECT_EQ(rollout.generate(requests, {0, 0}, {}).status().code(), Code::kFailedPrecondition);
  for (const int64_t step : {0, 1, 2}) ASSERT_TRUE(rollout.publish(weights({0, step}, 1)).ok());
  EXPECT_EQ(rollout.generate(requests, {0, 0}, {}).status().code(), Code::kFailedPrecondition)
      << "the oldest has gone";
  EXPECT_TRUE(rollout.generate(requests, {0, 1}, {}).ok());
  EXPECT_TRUE(rollout.generate(requests, {0, 2}, {}).ok());
  ASSERT_TRUE(rollout.publish(weights({1, 2}, 1)).ok());
  EXPECT_TRUE(rollout.generate(requests, {1, 2}, {}).ok()) << "a new epoch is another version";
}

TEST(LocalRollout, TakesAVersionPublishedTwiceAsItsNewWeights) {
  LocalRollout rollout(std::make_shared<PairTokenizer>(), {}, 2);
  const std::vector<RolloutRequest> requests{request(0, 4, 2)};
  ASSERT_TRUE(rollout.publish(weights({0, 5}, 1)).ok());
  ASSERT_TRUE(rollout.publish(weights({0, 5}, 2)).ok());
  Generator direct(testing::small_model(2), std::make_shared<PairTokenizer>(), {});
  EXPECT_TRUE(same_bits(*rollout.generate(requests, {0, 5}, {}), *direct.generate(requests, {0, 5}, {})));
}

TEST(LocalRollout, RefusesWeightsThatAreNotTheModelsAndNamesTheVersion) {
  LocalRollout rollout(std::make_shared<PairTokenizer>(), {}, 2);
  WeightSet broken = *weights({0, 7}, 1);
  broken.tensors.erase("lm_head.weight");
  const Status status = rollout.publish(std::make_shared<WeightSet>(broken));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("version 0.7"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("lm_head.weight"), std::string::npos) << status.message();
}

TEST(LocalRollout, GeneratesInTheTypeItWasMadeFor) {
  const std::vector<RolloutRequest> requests{request(0, 4, 3)};
  std::vector<std::vector<RolloutGroup>> made;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    LocalRollout rollout(std::make_shared<PairTokenizer>(), {}, 1, dtype);
    ASSERT_TRUE(rollout.publish(weights({0, 0}, 1)).ok());
    made.push_back(rollout.generate(requests, {0, 0}, {}).value());
  }
  const ModelSpec spec = testing::small_spec();
  auto bf16 = DecodeModel::create(spec, testing::small_weights(spec, 1), DType::kBF16).value();
  Generator direct(std::move(bf16), std::make_shared<PairTokenizer>(), {});
  EXPECT_TRUE(same_bits(made[1], *direct.generate(requests, {0, 0}, {})));
  EXPECT_FALSE(same_bits(made[0], made[1])) << "log-probs of rounded weights are others";
}

TEST(SamplingConfig, GivesItsValuesToTheParameters) {
  const auto json = parse_json(R"({"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1,
                                   "max_completion_length": 12, "stop": ["\n"], "num_generations": 4})");
  ASSERT_TRUE(json.ok());
  const auto config = read_config<SamplingConfig>(*json);
  ASSERT_TRUE(config.ok()) << config.status().message();
  const SamplingParams p = config->params();
  EXPECT_EQ(config->num_generations, 4);
  EXPECT_EQ(p.temperature, 0.7);
  EXPECT_EQ(p.top_k, 5);
  EXPECT_EQ(p.top_p, 0.9);
  EXPECT_EQ(p.min_p, 0.1);
  EXPECT_EQ(p.max_completion_length, 12);
  EXPECT_EQ(p.stop, std::vector<std::string>{"\n"});
  EXPECT_TRUE(check_sampling(SamplingConfig().params()).ok()) << "the defaults are valid";
}

TEST(Fingerprint, NamesVersionTypeAndMeasuredBits) {
  const std::string& fingerprint = numeric_fingerprint();
  EXPECT_EQ(fingerprint.find("fulcrum " FULCRUM_VERSION " fp32 "), 0u) << fingerprint;
  EXPECT_EQ(fingerprint.size(), std::string("fulcrum " FULCRUM_VERSION " fp32 ").size() + 16) << fingerprint;
  EXPECT_NE(describe_decoder(2).find("2 threads"), std::string::npos);
}

TEST(Fingerprint, OfBfloat16IsMeasuredApart) {
  const std::string fp32 = numeric_fingerprint(), bf16 = numeric_fingerprint(DType::kBF16);
  EXPECT_EQ(bf16.find("fulcrum " FULCRUM_VERSION " bf16 "), 0u) << bf16;
  EXPECT_NE(fp32.substr(fp32.size() - 16), bf16.substr(bf16.size() - 16)) << "the bits, not the name alone";
}

}  // namespace
}  // namespace fulcrum
