#include "rollout/device_generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "engine/core/text.h"
#include "rollout/local_rollout.h"
#include "tests/support/decode_on_host.h"
#include "tests/unit/rollout/rollout_testing.h"

namespace fulcrum {
namespace {

using testing::host_decode_kernels;
using testing::host_device;
using testing::new_host_device;
using testing::PairTokenizer;
using testing::request;
using testing::same_bits;
using testing::small_model;

const PolicyVersion kVersion{1, 4};

struct DeviceGeneratorTest : ::testing::Test {
  DeviceGeneratorTest() { new_host_device(); }
  ~DeviceGeneratorTest() override { EXPECT_EQ(host_device().allocated, 0) << "memory was not given back"; }
};

std::shared_ptr<const DeviceModel> on_device(const ModelSpec& spec = testing::small_spec()) {
  auto model = DeviceModel::create(spec, testing::small_weights(spec, 1), DType::kF32, host_decode_kernels());
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *model;
}

struct How {
  int64_t max_batch = 64;
  DeviceOptions device;
};

Result<std::vector<RolloutGroup>> try_generate(std::span<const RolloutRequest> requests, const How& how = {},
                                               const GenerateCalls& calls = {}, std::stop_token stop = {},
                                               const ModelSpec& spec = testing::small_spec()) {
  DeviceGenerator generator(on_device(spec), std::make_shared<PairTokenizer>(),
                            {.max_batch = how.max_batch, .device = how.device});
  return generator.generate(requests, kVersion, stop, calls);
}

std::vector<RolloutGroup> generate(std::span<const RolloutRequest> requests, const How& how = {},
                                   const GenerateCalls& calls = {}) {
  auto groups = try_generate(requests, how, calls);
  EXPECT_TRUE(groups.ok()) << groups.status().message();
  return groups.ok() ? *groups : std::vector<RolloutGroup>{};
}

std::vector<RolloutGroup> by_the_cpu(std::span<const RolloutRequest> requests,
                                     const ModelSpec& spec = testing::small_spec()) {
  Generator generator(small_model(1, spec), std::make_shared<PairTokenizer>(), {});
  return generator.generate(requests, kVersion, {}).value();
}

// The same tokens and ends; log-probs within 1e-4.
void expect_alike(const std::vector<RolloutGroup>& actual, const std::vector<RolloutGroup>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].index, expected[i].index);
    EXPECT_EQ(actual[i].version, expected[i].version);
    EXPECT_EQ(actual[i].prompt.ids, expected[i].prompt.ids);
    ASSERT_EQ(actual[i].completions.size(), expected[i].completions.size());
    for (size_t g = 0; g < actual[i].completions.size(); ++g) {
      const Completion &a = actual[i].completions[g], &e = expected[i].completions[g];
      ASSERT_EQ(a.ids, e.ids) << "group " << i << " completion " << g;
      EXPECT_EQ(a.finish, e.finish);
      EXPECT_EQ(a.text, e.text);
      for (size_t t = 0; t < e.ids.size(); ++t) EXPECT_NEAR(a.logps[t], e.logps[t], 1e-4);
    }
  }
}

// Every way to draw and to end, prompts of one page and of several.
std::vector<RolloutRequest> mixed_requests() {
  std::vector<RolloutRequest> out{request(0, 5, 4),  request(1, 16, 1), request(2, 1, 5), request(3, 40, 3),
                                  request(4, 33, 2), request(5, 7, 2),  request(6, 17, 2)};
  out[1].sampling.temperature = 0;
  out[2].sampling.top_p = 0.8;
  out[3].sampling.stop = {"cd"};
  out[4].sampling.max_completion_length = 1;
  out[5].sampling.temperature = 0.7;
  out[5].sampling.top_k = 4;
  out[6].sampling.min_p = 0.2;
  out[6].sampling.stop_ids = {3, 5};
  return out;
}

TEST_F(DeviceGeneratorTest, DrawsTheTokensTheCpuDraws) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> expected = by_the_cpu(requests);
  expect_alike(generate(requests), expected);
  expect_alike(generate(requests, {64, {.fixed_order = false}}), expected);
}

TEST_F(DeviceGeneratorTest, GivesTheSameBitsWithAnyBatchSizeAndStepsALaunch) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> expected = generate(requests);
  for (const int64_t max_batch : {1, 3, 9}) {
    EXPECT_TRUE(same_bits(generate(requests, {max_batch}), expected)) << "max_batch " << max_batch;
  }
  for (const int64_t steps : {1, 3, 15}) {
    EXPECT_TRUE(same_bits(generate(requests, {5, {.steps = steps}}), expected)) << steps << " steps";
  }
}

}  // namespace
}  // namespace fulcrum
