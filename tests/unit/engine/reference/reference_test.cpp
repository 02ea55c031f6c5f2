#include "engine/reference/reference.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/reference/parameters.h"
#include "engine/reference/soup.h"
#include "tests/support/test_data.h"
#include "tests/unit/engine/reference/reference_testing.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

// Prompt 1 2, completion 3 4.
TrainBatch tiny_batch() {
  TrainBatch batch;
  batch.tokens = {1, 2, 3, 4};
  batch.positions = {0, 1, 2, 3};
  batch.groups = {{.prompt_begin = 0, .prompt_end = 2, .row_begin = 0, .row_end = 1}};
  batch.rows = {{.token_begin = 2, .token_end = 4, .target_begin = 0, .target_end = 2}};
  batch.target_source = {1, 2};
  batch.target_ids = {3, 4};
  batch.target_row = {0, 0};
  batch.target_mask = {1, 1};
  return batch;
}

std::vector<float> logps_of(Reference& reference) {
  const auto out = reference.logps(tiny_batch(), 1.0, 1024, 16, {});
  EXPECT_TRUE(out.ok()) << out.status().message();
  return *out;
}

std::unique_ptr<Reference> make(const ReferenceConfig& config, const Model& start) {
  auto made = make_reference(config, start, {});
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(*made);
}

TEST(Reference, WithoutOptionsItIsThePolicyAsItStartsAndNeverMoves) {
  const Model start = random_model(tiny_spec(), 1);
  const auto reference = make({}, start);
  const auto policy = *Policy::create(random_model(tiny_spec(), 2), {});
  const std::vector<float> before = logps_of(*reference);
  EXPECT_EQ(before, *batch_logps(**Policy::create(start, {}), tiny_batch(), 1.0, 1024, 16, {}));
  ASSERT_TRUE(reference->after_step(512, *policy).ok());
  EXPECT_EQ(logps_of(*reference), before);
  EXPECT_EQ(reference->version(), 0);
  EXPECT_TRUE(reference->save().empty());
  EXPECT_TRUE(reference->load({}, 0).ok());
}

TEST(Reference, SyncMovesItEveryNStepsAndGivesANewVersionAndHash) {
  const Model start = random_model(tiny_spec(), 1);
  const auto reference =
      make({.sync_ref_model = true, .ref_model_mixup_alpha = 1.0, .ref_model_sync_steps = 3}, start);
  const auto policy = *Policy::create(random_model(tiny_spec(), 2), {});
  const std::string hash = reference->content_hash();
  ASSERT_TRUE(reference->after_step(2, *policy).ok());
  EXPECT_EQ(reference->content_hash(), hash);
  ASSERT_TRUE(reference->after_step(3, *policy).ok());
  EXPECT_EQ(reference->version(), 1);
  EXPECT_NE(reference->content_hash(), hash);
  EXPECT_EQ(logps_of(*reference), *batch_logps(*policy, tiny_batch(), 1.0, 1024, 16, {}));
}

TEST(Reference, AMovedReferenceIsRestoredBitForBit) {
  const Model start = random_model(tiny_spec(), 1);
  const ReferenceConfig config{
      .sync_ref_model = true, .ref_model_mixup_alpha = 0.6, .ref_model_sync_steps = 1};
  const auto reference = make(config, start);
  const auto policy = *Policy::create(random_model(tiny_spec(), 2), {});
  ASSERT_TRUE(reference->after_step(1, *policy).ok());
  const TensorMap saved = reference->save();
  const auto restored = make(config, start);
  ASSERT_TRUE(restored->load(saved, reference->version()).ok());
  EXPECT_EQ(restored->content_hash(), reference->content_hash());
  EXPECT_EQ(restored->version(), 1);
  EXPECT_EQ(logps_of(*restored), logps_of(*reference));
  // What was saved does not move with the reference.
  ASSERT_TRUE(reference->after_step(2, *policy).ok());
  EXPECT_EQ(content_hash(saved), restored->content_hash());
}

TEST(Reference, ACheckpointOfAnotherKindIsRefused) {
  const Model start = random_model(tiny_spec(), 1);
  const auto frozen = make({}, start);
  EXPECT_THAT(frozen->load({}, 2).message(), HasSubstr("sync_ref_model"));
  const auto moving = make({.sync_ref_model = true}, start);
  TensorMap saved = moving->save();
  saved.erase(saved.begin());
  EXPECT_THAT(moving->load(saved, 1).message(), HasSubstr("is missing"));
}

ReferenceConfig bema_config() {
  return {.bema = {.update_ref_model = true,
                   .update_freq = 2,
                   .ema_power = 0.7,
                   .bias_power = 0.3,
                   .lag = 4,
                   .multiplier = 0.5}};
}

std::unique_ptr<Policy> policy_of(uint64_t seed) {
  return *Policy::create(random_model(tiny_spec(), seed), {});
}

// arXiv 2508.00180 written out for four steps of which the second and the fourth move.
TEST(Bema, IsThePapersFormulaAtEveryNthStep) {
  const Model start = random_model(tiny_spec(), 1);
  const auto reference = make(bema_config(), start);
  const auto second = policy_of(12), fourth = policy_of(14);
  for (const auto& [step, seed] : {std::pair<int64_t, uint64_t>{1, 11}, {2, 12}, {3, 13}, {4, 14}})
    ASSERT_TRUE(reference->after_step(step, *policy_of(seed)).ok());
  EXPECT_EQ(reference->version(), 2);
  const double b2 = std::pow(5.0, -0.7), b4 = std::pow(6.0, -0.7), a4 = std::pow(6.0, -0.3);
  const TensorMap at2 = copy_parameters(*second), at4 = copy_parameters(*fourth);
  const TensorMap saved = reference->save();
  for (const auto& [name, tensor] : at4) {
    const std::vector<float> got = *to_float(saved.at(name)), zero = *to_float(start.tensors.at(name));
    const std::vector<float> two = *to_float(at2.at(name)), four = *to_float(tensor);
    for (size_t i = 0; i < got.size(); ++i) {
      const double ema2 = (1 - b2) * double(zero[i]) + b2 * double(two[i]);
      const double ema4 = (1 - b4) * ema2 + b4 * double(four[i]);
      ASSERT_NEAR(got[i], ema4 + a4 * (double(four[i]) - double(zero[i])), 1e-6) << name;
    }
  }
}

TEST(Bema, OfAPolicyThatHasNotMovedIsThePolicy) {
  const Model start = random_model(tiny_spec(), 1);
  const auto reference = make(bema_config(), start);
  const std::string hash = reference->content_hash();
  const auto still = *Policy::create(start, {});
  for (int64_t step = 1; step <= 6; ++step) ASSERT_TRUE(reference->after_step(step, *still).ok());
  EXPECT_EQ(reference->version(), 3);
  TensorMap weights = reference->save();
  for (const auto& [name, tensor] : copy_parameters(*still)) {
    const std::vector<float> got = *to_float(weights.at(name)), want = *to_float(tensor);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_FLOAT_EQ(got[i], want[i]) << name;
  }
}

// (lag + multiplier t)^0 is 1: the average is the policy, and the correction is all of what it learnt.
TEST(Bema, WithPowersOfZeroItGoesTwiceAsFarAsThePolicy) {
  const Model start = random_model(tiny_spec(), 1);
  ReferenceConfig config = bema_config();
  config.bema.ema_power = config.bema.bias_power = 0;
  const auto reference = make(config, start);
  const auto policy = policy_of(2);
  ASSERT_TRUE(reference->after_step(2, *policy).ok());
  const TensorMap saved = reference->save();
  for (const auto& [name, tensor] : copy_parameters(*policy)) {
    const std::vector<float> got = *to_float(saved.at(name)), zero = *to_float(start.tensors.at(name)),
                             now = *to_float(tensor);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], 2 * now[i] - zero[i], 1e-6) << name;
  }
}

TEST(Bema, SavedAndLoadedItMovesOnBitForBit) {
  const Model start = random_model(tiny_spec(), 1);
  const auto straight = make(bema_config(), start);
  ASSERT_TRUE(straight->after_step(2, *policy_of(2)).ok());
  const auto resumed = make(bema_config(), start);
  ASSERT_TRUE(resumed->load(straight->save(), straight->version()).ok());
  EXPECT_EQ(resumed->content_hash(), straight->content_hash());
  for (const auto& reference : {straight.get(), resumed.get()})
    ASSERT_TRUE(reference->after_step(4, *policy_of(3)).ok());
  EXPECT_EQ(resumed->content_hash(), straight->content_hash());
  EXPECT_EQ(content_hash(resumed->save()), content_hash(straight->save()));
  EXPECT_EQ(resumed->version(), 2);
}

TEST(Bema, IsNotRestoredFromAnotherKindOfReferenceNorInto) {
  const Model start = random_model(tiny_spec(), 1);
  const auto average = make(bema_config(), start), mixed = make({.sync_ref_model = true}, start);
  EXPECT_THAT(average->load(mixed->save(), 1).message(), HasSubstr("is missing"));
  EXPECT_THAT(mixed->load(average->save(), 1).message(), HasSubstr("bema"));
}

TEST(Bema, ExcludesOtherReferencesAndItsKeysNeedItsSwitch) {
  const Model start = random_model(tiny_spec(), 1);
  const auto refusal = [&](const ReferenceConfig& config) {
    return make_reference(config, start, {}).status().message();
  };
  ReferenceConfig config = bema_config();
  config.sync_ref_model = true;
  EXPECT_THAT(refusal(config), HasSubstr("exclude each other"));
  config = bema_config();
  config.ref_model = "a";
  EXPECT_THAT(refusal(config), HasSubstr("leave 'ref_model' and 'ref_soup' out"));
  config = bema_config();
  config.bema.update_ref_model = false;
  EXPECT_THAT(refusal(config), HasSubstr("'update_ref_model'"));
}

TEST(Reference, OptionsThatExcludeEachOtherAreRefused) {
  const Model start = random_model(tiny_spec(), 1);
  const auto refusal = [&](const ReferenceConfig& config) {
    return make_reference(config, start, {}).status().message();
  };
  EXPECT_THAT(refusal({.ref_model = "a", .ref_soup = {"b", "c"}}), HasSubstr("exclude each other"));
  EXPECT_THAT(refusal({.ref_soup = {"b", "c"}, .ref_soup_weights = {1.0}}),
              HasSubstr("'ref_soup_weights' must have as many entries"));
  EXPECT_THAT(refusal({.ref_model = "/no/such/folder"}), HasSubstr("ref_model '/no/such/folder'"));
}

TEST(Reference, ASoupOfFoldersIsTheirAverageAndAMisfitIsNamed) {
  const testing::TempFolder folder;
  const Model a = random_model(tiny_spec(), 1), b = random_model(tiny_spec(), 2);
  ModelSpec wide = tiny_spec();
  wide.intermediate_size = 16;
  const std::vector<std::pair<std::string, Model>> models = {
      {"a", a}, {"b", b}, {"wide", random_model(wide, 3)}};
  for (const auto& [name, model] : models) {
    ASSERT_TRUE(make_folders(folder.path() / name).ok());
    ASSERT_TRUE(write_model(folder.path() / name, model, {}).ok());
  }
  const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
  const auto soup = make({.ref_soup = {path("a"), path("b")}, .ref_soup_weights = {3, 1}}, a);
  const std::vector<Ingredient> ingredients = {{.name = "a", .model = a}, {.name = "b", .model = b}};
  const Model expected = *make_soup(ingredients, {.weights = {0.75, 0.25}});
  EXPECT_EQ(soup->content_hash(), make({}, expected)->content_hash());
  EXPECT_THAT(make_reference({.ref_model = path("wide")}, a, {}).status().message(),
              HasSubstr("mlp.down_proj.weight' has shape"));
}

TEST(Reference, SaysWhereItCameFrom) {
  const testing::TempFolder folder;
  const Model a = random_model(tiny_spec(), 1);
  ASSERT_TRUE(write_model(folder.path(), a, {}).ok());
  const std::string path = folder.path().string();
  EXPECT_EQ(make({}, a)->origin(), "the policy as it starts");
  EXPECT_EQ(make({.ref_model = path}, a)->origin(), "ref_model '" + path + "'");
  EXPECT_EQ(make({.ref_soup = {path, path}}, a)->origin(), "soup of 2 models");
}

TEST(Reference, ASoupMayBeMixedByLayersAndTowardsThePolicyAsItStarts) {
  const testing::TempFolder a_folder, b_folder;
  const Model start = random_model(tiny_spec(), 1), a = random_model(tiny_spec(), 2),
              b = random_model(tiny_spec(), 3);
  ASSERT_TRUE(write_model(a_folder.path(), a, {}).ok());
  ASSERT_TRUE(write_model(b_folder.path(), b, {}).ok());
  const std::vector<SoupRule> rules = {{.tensors = "mlp", .weights = {1, 0}}};
  const auto soup = make({.ref_soup = {a_folder.path().string(), b_folder.path().string()},
                          .ref_soup_layer_weights = rules,
                          .ref_soup_interpolation = 0.25},
                         start);
  const std::vector<Ingredient> models = {{.model = a}, {.model = b}};
  const Ingredient base{.model = start};
  const Model expected = *make_soup(models, {.rules = rules, .base = &base, .interpolation = 0.25});
  EXPECT_EQ(soup->content_hash(), make({}, expected)->content_hash());
}

TEST(Reference, KeysOfASoupWithoutASoupAreRefused) {
  const Model start = random_model(tiny_spec(), 1);
  const auto refusal = [&](const ReferenceConfig& config) {
    return make_reference(config, start, {}).status().message();
  };
  EXPECT_THAT(refusal({.ref_soup_weights = {1}}), HasSubstr("without 'ref_soup'"));
  EXPECT_THAT(refusal({.ref_soup_interpolation = 0.5}), HasSubstr("without 'ref_soup'"));
}

TEST(Follow, PassesThroughTheModelsAsTheWeightsOfAMovingAverageSay) {
  const std::vector<Ingredient> models = {{.model = random_model(tiny_spec(), 1)},
                                          {.model = random_model(tiny_spec(), 2)},
                                          {.model = random_model(tiny_spec(), 3)}};
  const auto reference = *Policy::create(models[0].model, {});
  for (int64_t step = 1; step <= 2; ++step) {
    const auto policy = *Policy::create(models[static_cast<size_t>(step)].model, {});
    EXPECT_TRUE(*follow(*reference, *policy, {.alpha = 0.3, .every = 1}, step));
  }
  const Model average = *make_soup(models, {.weights = ema_weights(3, 0.3)});
  for (const auto& [name, moved] : copy_parameters(*reference)) {
    const std::vector<float> got = *to_float(moved), want = *to_float(average.tensors.at(name));
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-8) << name;
  }
}

}  // namespace
}  // namespace fulcrum
