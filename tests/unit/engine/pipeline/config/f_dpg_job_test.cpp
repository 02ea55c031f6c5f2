// What f_dpg asks of a job, refused in words before an engine starts.
#include "engine/pipeline/config/f_dpg_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

Json job() {
  return {{"trainer", "f_dpg"},
          {"model_name_or_path", "/model"},
          {"train_files", {"/train.jsonl"}},
          {"reward_funcs", {{{"name", "regex"}, {"pattern", "a"}}, {{"name", "regex"}, {"pattern", "b"}}}},
          {"f_dpg", {{"constraints", {{{"feature", "regex"}, {"moment", 0.5}}, {{"feature", "regex_2"}}}}}}};
}

std::string complaint(const Json& keys) {
  Json json = job();
  json.update(keys);
  return parse_job(dump_json(json), {}).status().message();
}

TEST(FDpgJob, FitsAsItStands) { EXPECT_EQ(complaint(Json::object()), ""); }

TEST(FDpgJob, RefusesSamplesThatAreNotThePolicys) {
  for (const Json& keys :
       {Json{{"temperature", 0.7}}, Json{{"top_p", 0.9}}, Json{{"top_k", 5}}, Json{{"min_p", 0.1}}})
    EXPECT_THAT(complaint(keys), HasSubstr("needs samples of the policy itself")) << keys.dump();
  EXPECT_THAT(complaint({{"dynamic_sampling", "reward"}}), HasSubstr("would choose samples by their reward"));
  EXPECT_THAT(complaint({{"num_generations", 1}}), HasSubstr("'num_generations' must be at least 2"));
}

TEST(FDpgJob, RefusesAFeatureThatNoRewardProduces) {
  EXPECT_THAT(
      complaint({{"f_dpg", {{"constraints", {{{"feature", "regx"}}}}}}}),
      HasSubstr(
          "no reward of 'reward_funcs' is called 'regx', as a constraint asks (there is regex, regex_2)"));
}

TEST(FDpgJob, RefusesATargetThatMovesOrIsNotWhatLambdaIsFittedTo) {
  EXPECT_THAT(complaint({{"sync_ref_model", true}}), HasSubstr("would move the target"));
  EXPECT_THAT(complaint({{"ref_model", "/other"}}), HasSubstr("leave 'ref_model' and 'ref_soup' out"));
}

TEST(FDpgJob, RefusesADivergenceThatThePointWiseConstraintMakesInfinite) {
  EXPECT_THAT(complaint({{"f_divergence_type", "reverse_kl"}}), HasSubstr("its slope is infinite"));
  EXPECT_THAT(complaint({{"f_dpg", {{"target", "reward"}}}}), HasSubstr("needs 'beta' above 0"));
  EXPECT_EQ(
      complaint({{"f_dpg", {{"target", "reward"}}}, {"beta", 0.1}, {"f_divergence_type", "reverse_kl"}}), "");
}

TEST(FDpgJob, AMomentBeyondOneIsOutOfRange) {
  EXPECT_THAT(complaint({{"f_dpg", {{"constraints", {{{"feature", "regex"}, {"moment", 1.5}}}}}}}),
              HasSubstr("f_dpg.constraints[0].moment"));
}

}  // namespace
}  // namespace fulcrum
