#include "rollout/device_generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "engine/core/text.h"
#include "policy/decode/device/device_decoder.h"
#include "rollout/generator.h"
#include "rollout/local_rollout.h"
#include "tests/support/cuda_on_host.h"
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

std::vector<RolloutGroup> on_the_device(std::span<const RolloutRequest> requests, const How& how = {},
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

// A request all of whose completions only their length ends.
RolloutRequest full_length(size_t prompt, int64_t generations, int64_t length) {
  for (int64_t index = 0;; ++index) {
    RolloutRequest r = request(index, prompt, generations);
    r.sampling.max_completion_length = length;
    const std::vector<Completion> all = by_the_cpu({&r, 1}).at(0).completions;
    if (std::all_of(all.begin(), all.end(), [](const auto& c) { return c.finish == FinishReason::kLength; }))
      return r;
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
  expect_alike(on_the_device(requests), expected);
  expect_alike(on_the_device(requests, {64, {.fixed_order = false}}), expected);
}

TEST_F(DeviceGeneratorTest, GivesTheSameBitsWithAnyBatchSizeAndStepsALaunch) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> expected = on_the_device(requests);
  for (const int64_t max_batch : {1, 3, 9}) {
    EXPECT_TRUE(same_bits(on_the_device(requests, {max_batch}), expected)) << "max_batch " << max_batch;
  }
  for (const int64_t steps : {1, 3, 15}) {
    EXPECT_TRUE(same_bits(on_the_device(requests, {5, {.steps = steps}}), expected)) << steps << " steps";
  }
  for (const size_t i : {2, 3}) EXPECT_TRUE(same_bits(on_the_device({&requests[i], 1}), {expected[i]})) << i;
}

// What a recorded step replays is what its kernels do one by one, batch after batch, in both types.
TEST_F(DeviceGeneratorTest, GivesTheSameBitsWhetherStepsAreRecordedOrNot) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const ModelSpec spec = testing::small_spec();
  const TensorMap weights = testing::small_weights(spec, 1);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto model = DeviceModel::create(spec, weights, dtype, host_decode_kernels()).value();
    for (const auto& [batch, fixed] : {std::pair<int64_t, bool>{3, true}, {64, true}, {9, false}}) {
      const auto drawn = [&, size = batch, order = fixed](bool recorded) {
        DeviceGenerator generator(
            model, std::make_shared<PairTokenizer>(),
            {.max_batch = size, .device = {.recorded = recorded, .fixed_order = order}});
        return generator.generate(requests, kVersion, {}).value();
      };
      new_host_device();
      const std::vector<RolloutGroup> plainly = drawn(false);
      EXPECT_EQ(host_device().launches + host_device().graphs, 0);
      EXPECT_TRUE(same_bits(drawn(true), plainly)) << "max_batch " << batch;
      EXPECT_GT(host_device().launches, 0);
    }
  }
}

TEST_F(DeviceGeneratorTest, GivesInBfloat16TheSameBitsWithAnyBatchSize) {
  const ModelSpec spec = testing::small_spec();
  const auto model =
      DeviceModel::create(spec, testing::small_weights(spec, 1), DType::kBF16, host_decode_kernels()).value();
  std::vector<RolloutRequest> requests{request(0, 18, 9), request(1, 3, 2)};
  for (RolloutRequest& r : requests) r.sampling.max_completion_length = 12;
  std::vector<RolloutGroup> expected;
  for (const int64_t max_batch : {20, 1, 9}) {
    DeviceGenerator generator(model, std::make_shared<PairTokenizer>(), {.max_batch = max_batch});
    const auto groups = generator.generate(requests, kVersion, {});
    ASSERT_TRUE(groups.ok()) << groups.status().message();
    if (expected.empty()) expected = *groups;
    EXPECT_TRUE(same_bits(*groups, expected)) << "max_batch " << max_batch;
  }
  EXPECT_FALSE(same_bits(expected, on_the_device(requests))) << "log-probs of rounded weights are others";
}

TEST_F(DeviceGeneratorTest, GivesTheSameBitsInEveryOrderOfThreads) {
  const std::vector<RolloutRequest> requests{request(0, 18, 3)};
  const std::vector<RolloutGroup> expected = on_the_device(requests);
  for (const auto& schedule : cuda_on_host::every_schedule()) {
    cuda_on_host::use_schedule(schedule);
    EXPECT_TRUE(same_bits(on_the_device(requests), expected));
  }
  cuda_on_host::use_schedule({});
}

// The first tokens are drawn from the prompt's logits; each of the others takes a step, of which eight are
// launched before the host looks.
TEST_F(DeviceGeneratorTest, WaitsForTheDeviceOnceInEightTokens) {
  RolloutRequest r = request(11, 5, 4);
  r.sampling.max_completion_length = 41;
  ModelSpec spec = testing::small_spec();
  DeviceGenerator generator(on_device(spec), std::make_shared<PairTokenizer>(), {});
  new_host_device();
  const auto groups = generator.generate({&r, 1}, kVersion, {});
  ASSERT_TRUE(groups.ok());
  size_t longest = 0;
  int64_t run = 0;  // tokens that went through the model
  for (const Completion& c : groups->at(0).completions) {
    longest = std::max(longest, c.ids.size());
    run += static_cast<int64_t>(c.ids.size()) - 1;
  }
  const auto launches = static_cast<int64_t>((longest - 1 + 7) / 8);
  EXPECT_EQ(host_device().launches, launches * 8);
  EXPECT_EQ(host_device().synchronisations, launches + 1) << "one for the decoder's tables of angles";
  EXPECT_EQ(host_device().tokens_embedded, run + 5) << "the prompt once for the group, and no token in vain";
  EXPECT_EQ(host_device().graphs, 1);
}

TEST_F(DeviceGeneratorTest, EndsAtTheModelsAndTheRequestsEndTokens) {
  RolloutRequest r = full_length(4, 2, 30);
  const RolloutRequest plain = r;
  const Completion free = by_the_cpu({&r, 1}).at(0).completions.at(0);
  r.sampling.stop_ids = {free.ids.at(10)};
  expect_alike(on_the_device({&r, 1}), by_the_cpu({&r, 1}));
  // More than the device looks at, and the one that comes last among them.
  for (TokenId id = 41; id < 60; ++id) r.sampling.stop_ids.push_back(id - 60);
  expect_alike(on_the_device({&r, 1}), by_the_cpu({&r, 1}));

  ModelSpec spec = testing::small_spec();
  spec.eos_token_ids = {free.ids.at(5)};
  const auto groups = try_generate({&plain, 1}, {}, {}, {}, spec);
  ASSERT_TRUE(groups.ok());
  expect_alike(*groups, by_the_cpu({&plain, 1}, spec));
}

TEST_F(DeviceGeneratorTest, EndsAtAStopTextAlsoAcrossTokensAndLaunches) {
  RolloutRequest r = full_length(4, 1, 30);
  const Completion free = by_the_cpu({&r, 1}).at(0).completions.at(0);
  const std::string text = PairTokenizer().decode(free.ids);
  for (const auto& [begin, length] : {std::pair<size_t, size_t>{6, 1}, {7, 2}, {16, 4}, {18, 1}}) {
    RolloutRequest with_stop = r;
    with_stop.sampling.stop = {"never appears", text.substr(begin, length)};
    int tokens = 0;
    const auto groups =
        on_the_device({&with_stop, 1}, {}, {.on_token = [&](const TokenEvent&) { ++tokens; }});
    expect_alike(groups, by_the_cpu({&with_stop, 1}));
    EXPECT_EQ(static_cast<size_t>(tokens), groups.at(0).completions.at(0).ids.size())
        << "what was drawn behind the stop text is not told";
  }
}

TEST_F(DeviceGeneratorTest, EndsWhereTheContextOfTheModelEnds) {
  ModelSpec spec = testing::small_spec();
  spec.max_position_embeddings = 43;
  RolloutRequest r = request(12, 33, 3);
  r.sampling.max_completion_length = 1000;
  const auto groups = try_generate({&r, 1}, {}, {}, {}, spec);
  ASSERT_TRUE(groups.ok()) << groups.status().message();
  expect_alike(*groups, by_the_cpu({&r, 1}, spec));
  size_t longest = 0;
  for (const Completion& c : groups->at(0).completions) longest = std::max(longest, c.ids.size());
  EXPECT_EQ(longest, 10u);
}

TEST_F(DeviceGeneratorTest, StreamsTokensAndGroupsAsTheyHappen) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  std::map<std::pair<size_t, int64_t>, Completion> streamed;
  std::map<size_t, RolloutGroup> finished;
  const GenerateCalls calls{
      .on_token =
          [&](const TokenEvent& e) {
            Completion& c = streamed[{e.request, e.generation}];
            c.ids.push_back(e.id);
            c.logps.push_back(e.logp);
            c.text += e.text;
          },
      .on_group = [&](size_t i,
                      const RolloutGroup& g) { EXPECT_TRUE(finished.emplace(i, g).second) << "once"; }};
  const std::vector<RolloutGroup> groups = on_the_device(requests, {4}, calls);
  ASSERT_EQ(finished.size(), groups.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    EXPECT_TRUE(same_bits({finished.at(i)}, {groups[i]}));
    for (size_t g = 0; g < groups[i].completions.size(); ++g) {
      const Completion &c = groups[i].completions[g], &s = streamed.at({i, static_cast<int64_t>(g)});
      EXPECT_EQ(s.ids, c.ids);
      EXPECT_EQ(s.logps, c.logps);
      EXPECT_EQ(to_valid_utf8(s.text), c.text);
    }
  }
}

TEST_F(DeviceGeneratorTest, StopsInTheMiddleOfAGeneration) {
  std::stop_source source;
  int tokens = 0;
  const GenerateCalls calls{.on_token = [&](const TokenEvent&) {
    if (++tokens == 25) source.request_stop();
  }};
  RolloutRequest r = request(12, 6, 40);
  r.sampling.max_completion_length = 150;
  const auto groups = try_generate({&r, 1}, {4}, calls, source.get_token());
  EXPECT_EQ(groups.status().code(), Code::kCancelled);
  EXPECT_LT(tokens, 25 + 4) << "nothing is told after the step at hand";
  EXPECT_EQ(try_generate({&r, 1}, {}, {}, source.get_token()).status().code(), Code::kCancelled);
}

TEST_F(DeviceGeneratorTest, SaysWhatTheCpuSaysOfARequestThatDoesNotFit) {
  std::vector<RolloutRequest> requests{request(0, 3, 1), request(1, 3, 1)};
  const auto alike = [&] {
    Generator cpu(small_model(), std::make_shared<PairTokenizer>(), {});
    const Status expected = cpu.generate(requests, kVersion, {}).status(),
                 actual = try_generate(requests).status();
    EXPECT_EQ(actual.code(), Code::kInvalidArgument);
    EXPECT_EQ(actual.message(), expected.message());
    requests[1] = request(1, 3, 1);
  };
  requests[1].prompt.ids.assign(200, 1);
  alike();
  requests[1].prompt.ids[1] = 40;
  alike();
  requests[1].sampling.top_p = 0;
  alike();
}

TEST_F(DeviceGeneratorTest, SaysWhatTheCpuSaysOfWeightsThatHaveDiverged) {
  const ModelSpec spec = testing::small_spec();
  TensorMap weights = testing::small_weights(spec, 1);
  weights["model.norm.weight"] =
      make_tensor({spec.hidden_size}, std::vector<float>(32, std::numeric_limits<float>::quiet_NaN()));
  Generator cpu(DecodeModel::create(spec, weights).value(), std::make_shared<PairTokenizer>(), {});
  DeviceGenerator device(DeviceModel::create(spec, weights, DType::kF32, host_decode_kernels()).value(),
                         std::make_shared<PairTokenizer>(), {});
  const RolloutRequest r = request(5, 3, 2);
  const Status actual = device.generate({&r, 1}, kVersion, {}).status();
  EXPECT_EQ(actual.code(), Code::kDataLoss);
  EXPECT_EQ(actual.message(), cpu.generate({&r, 1}, kVersion, {}).status().message());
}

// The largest cache that a budget buys: what the workspaces take shows when a decoder of one page is made.
int64_t budget_for(int64_t pages, int64_t places, int64_t longest) {
  const auto model = on_device();
  const int64_t page = 2 * 2 * 2 * 16 * 8 * int64_t{sizeof(float)}, before = host_device().allocated;
  const auto decoder = DeviceDecoder::create(model, {}, {places, longest, 1});
  return host_device().allocated - before - page + pages * page;
}

// Four completions of a prompt of ten full pages and a part, two pages of their own each: 18 pages and the
// prompt's part, where four prompts would take 48.
TEST_F(DeviceGeneratorTest, ACompletionTakesPagesForItsOwnTokensAlone) {
  const RolloutRequest r = full_length(165, 4, 20);
  const std::vector<RolloutGroup> expected = on_the_device({&r, 1});
  const int64_t launches = new_host_device().launches;
  const int64_t unlimited = (on_the_device({&r, 1}), host_device().launches) - launches;
  for (const auto& [pages, at_once] : {std::pair<int64_t, bool>{18, true}, {17, false}, {13, false}}) {
    new_host_device();
    const DeviceOptions device{.memory_bytes = budget_for(pages, 4, 165 + 20 - 1)};
    EXPECT_TRUE(same_bits(on_the_device({&r, 1}, {64, device}), expected)) << pages << " pages";
    EXPECT_EQ(host_device().launches == unlimited, at_once) << pages << " pages";
  }
}

// The third completion copies the part of a page that the prompt has left; the last holder lets go of it in
// the same round, in which another prompt takes pages.
TEST_F(DeviceGeneratorTest, GivesAPageToOthersOnlyWhenItsCopyIsUnderWay) {
  std::vector<RolloutRequest> requests{full_length(21, 3, 9), request(1, 60, 1)};
  expect_alike(on_the_device(requests, {2}), by_the_cpu(requests));
}

TEST_F(DeviceGeneratorTest, NamesTheKeysWhenMemoryDoesNotSuffice) {
  RolloutRequest r = request(13, 100, 4);
  for (const int64_t bytes : {budget_for(7, 4, 129), int64_t{1000}}) {
    const Status status = try_generate({&r, 1}, {64, {.memory_bytes = bytes}}).status();
    EXPECT_EQ(status.code(), Code::kResourceExhausted);
    for (const char* key : {"rollout_max_batch", "max_completion_length"})
      EXPECT_NE(status.message().find(key), std::string::npos) << status.message();
  }
  EXPECT_TRUE(try_generate({&r, 1}, {1, {.memory_bytes = budget_for(10, 4, 129)}}).ok());
}

TEST_F(DeviceGeneratorTest, ReportsAnErrorOfTheDevice) {
  DeviceGenerator generator(on_device(), std::make_shared<PairTokenizer>(), {});
  host_device().fails_at_launch = 1;
  const RolloutRequest r = request(0, 3, 1);
  const Status status = generator.generate({&r, 1}, kVersion, {}).status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("wrong use"), std::string::npos) << status.message();
}

TEST_F(DeviceGeneratorTest, GeneratesNothingForNoRequests) { EXPECT_TRUE(on_the_device({}).empty()); }

TEST_F(DeviceGeneratorTest, IsWhatLocalRolloutUsesWhereThereIsADevice) {
  const ModelSpec spec = testing::small_spec();
  const auto weights = [&](int64_t step) {
    return std::make_shared<WeightSet>(
        WeightSet{{0, step}, spec, testing::small_weights(spec, static_cast<uint64_t>(step) + 1)});
  };
  const std::vector<RolloutRequest> requests{request(0, 4, 3)};
  LocalRollout cpu(std::make_shared<PairTokenizer>(), {}, 2);
  LocalRollout device(std::make_shared<PairTokenizer>(), {.device = {.kernels = &host_decode_kernels()}}, 2);
  for (const int64_t step : {0, 1}) {
    ASSERT_TRUE(cpu.publish(weights(step)).ok());
    ASSERT_TRUE(device.publish(weights(step)).ok());
  }
  for (const int64_t step : {1, 0}) {
    new_host_device();
    const auto groups = device.generate(requests, {0, step}, {});
    ASSERT_TRUE(groups.ok()) << groups.status().message();
    expect_alike(*groups, *cpu.generate(requests, {0, step}, {}));
    EXPECT_GT(host_device().launches, 0);
  }
  EXPECT_EQ(device.generate(requests, {0, 2}, {}).status().code(), Code::kFailedPrecondition);
}

TEST_F(DeviceGeneratorTest, OfOneVersionThatIsKeptTheOldGoesBeforeTheNewComes) {
  const ModelSpec spec = testing::small_spec();
  const auto weights = [&](int64_t step) {
    return std::make_shared<WeightSet>(WeightSet{{0, step}, spec, testing::small_weights(spec, 1)});
  };
  LocalRollout device(std::make_shared<PairTokenizer>(), {.device = {.kernels = &host_decode_kernels()}}, 1);
  ASSERT_TRUE(device.publish(weights(0)).ok());
  const int64_t model = host_device().allocated;
  host_device().memory = model + model / 2;
  const Status second = device.publish(weights(1));
  EXPECT_TRUE(second.ok()) << second.message();
  EXPECT_EQ(host_device().allocated, model);

  host_device().memory = model / 2;
  const Status third = device.publish(weights(2));
  EXPECT_EQ(third.code(), Code::kResourceExhausted) << third.message();
  const std::vector<RolloutRequest> requests{request(0, 4, 3)};
  for (const int64_t step : {0, 1, 2})
    EXPECT_EQ(device.generate(requests, {0, step}, {}).status().code(), Code::kFailedPrecondition) << step;
}

}  // namespace
}  // namespace fulcrum
