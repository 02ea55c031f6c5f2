// What an engine would refuse is refused by the check of the job file, before an engine starts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/pipeline/config/job_config.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

std::string complaint(const std::string& trainer, const Json& keys) {
  Json job = {{"trainer", trainer}, {"model_name_or_path", "/model"}, {"train_files", {"/train.jsonl"}}};
  if (trainer_rows(trainer) == RowFormat::kPrompt) job["reward_funcs"] = {{{"name", "math"}}};
  job.update(keys);
  const Status status = parse_job(dump_json(job), {}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return status.message();
}

TEST(JobCheck, RefusesDivergencesThatTheTrainerCannotUse) {
  EXPECT_THAT(complaint("dpo", {{"f_divergence_type", "total_variation"}}),
              HasSubstr("cannot be DPO's link"));
  EXPECT_THAT(complaint("dpo", {{"f_divergence_type", "alpha_divergence"}, {"f_alpha_divergence_coef", 1.5}}),
              HasSubstr("its slope is finite"));
  EXPECT_THAT(complaint("tdpo", {{"f_divergence_type", "forward_kk"}}),
              HasSubstr("did you mean 'forward_kl'?"));
  EXPECT_THAT(complaint("dph_rl", {{"dph_form", "clamped"}}), HasSubstr("is a form of forward_kl"));
  EXPECT_THAT(complaint("alpha_dpg", {{"f_dpg", {{"z", "per_batch"}}}}), HasSubstr("fixes 'f_dpg.z'"));
}

TEST(JobCheck, RefusesOptionsOfADivergenceThatIsNotInForce) {
  EXPECT_THAT(complaint("dph_rl", {{"f_divergence_type", "forward_kl"}, {"js_scale", 0.5}}),
              HasSubstr("'js_scale' acts with f_divergence_type js_divergence only"));
  EXPECT_THAT(complaint("dpo", {{"f_alpha_divergence_coef", 0.3}}),
              HasSubstr("'f_alpha_divergence_coef' acts"));
}

TEST(JobCheck, RefusesRewardsThatNoJudgeCanBeMadeOf) {
  const auto with = [](const Json& reward) { return complaint("grpo", {{"reward_funcs", {reward}}}); };
  EXPECT_THAT(with({{"name", "regex"}, {"pattern", "("}}), HasSubstr("pattern"));
  EXPECT_THAT(with({{"name", "regex"}}), HasSubstr("pattern"));
  EXPECT_THAT(with({{"name", "model"}}), HasSubstr("'path'"));
  EXPECT_THAT(with({{"name", "service"}}), HasSubstr("'address'"));
  for (const char* address : {"nohost", "127.0.0.1:99999", "localhost:x", "127.0.0.1"})
    EXPECT_THAT(with({{"name", "service"}, {"address", address}}), HasSubstr("is not HOST:PORT"));
  EXPECT_THAT(with({{"name", "exact"}, {"pattern", "x"}, {"target", 5}}),
              HasSubstr("reward 'exact' does not use 'pattern', 'target'"));
}

TEST(JobCheck, RefusesAnEmptyStopText) {
  EXPECT_THAT(complaint("grpo", {{"stop", {""}}}), HasSubstr("'stop' has an empty text"));
}

TEST(JobCheck, RefusesAReferenceThatNothingComparesWith) {
  EXPECT_THAT(complaint("grpo", {{"sync_ref_model", true}}), HasSubstr("nothing in this job compares"));
  EXPECT_THAT(complaint("rloo", {{"beta", 0}, {"ref_model", "/other"}}),
              HasSubstr("nothing in this job compares"));
  EXPECT_THAT(complaint("dpo", {{"ref_model_sync_steps", 3}}), HasSubstr("without 'sync_ref_model'"));
}

TEST(JobCheck, NamesEveryComplaintAtOnce) {
  const std::string all = complaint("dpo", {{"beta", 0}, {"temperature", 0.7}, {"loss_type", "dapo"}});
  for (const char* what : {"beta must be above 0", "does not use 'temperature'", "no loss_type 'dapo'"})
    EXPECT_THAT(all, HasSubstr(what));
}

}  // namespace
}  // namespace fulcrum
