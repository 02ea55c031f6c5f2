// Laws over the keys that wait for a partner.
#include "engine/pipeline/config/waiting_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/pipeline/config/unused_keys.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// For each key, a value other than its default; for each partner, one that turns it on.
const Json kSet = {{"val_files", {"/val.jsonl"}},
                   {"eval_num_generations", 2},
                   {"eval_k", {2}},
                   {"eval_temperature", 0.5},
                   {"metric_for_best_model", "eval_reward"},
                   {"greater_is_better", false},
                   {"max_num_gen_batches", 3},
                   {"soft_punish_factor", 0.5},
                   {"kl_horizon", 5000},
                   {"eval_steps", 1},
                   {"dynamic_sampling", "reward"},
                   {"soft_punish_cache", 8},
                   {"kl_target", 6}};

std::string complaint(const std::string& trainer, const std::vector<std::string>& keys) {
  Json job = {{"trainer", trainer}};
  for (const std::string& key : keys) job[key] = kSet.at(key);
  const Result<JobConfig> config = read_config<JobConfig>(job);
  EXPECT_TRUE(config.ok()) << config.status().message();
  Complaints complaints;
  check_waiting_keys(*config, complaints);
  return complaints.status().message();
}

// A trainer that reads the key.
std::string reader_of(const std::string& key) {
  for (const KeyReaders& entry : key_readers()) {
    if (entry.key == key) return entry.trainers.front();
  }
  return "grpo";
}

TEST(WaitingKeys, EachIsRefusedWithoutItsPartnerAndTakenBesideIt) {
  for (const auto& [keys, partner, _] : waiting_keys()) {
    for (const std::string& key : keys) {
      const std::string trainer = reader_of(key);
      EXPECT_EQ(complaint(trainer, {key}),
                "'" + key + "' does nothing without '" + partner + "': set it, or leave it out");
      EXPECT_THAT(complaint(trainer, {key, partner}), Not(HasSubstr("'" + key + "' does")));
    }
  }
}

TEST(WaitingKeys, ThoseOfOnePartnerAreNamedTogether) {
  EXPECT_EQ(complaint("grpo", {"eval_k", "eval_num_generations", "max_num_gen_batches"}),
            "'eval_num_generations', 'eval_k' do nothing without 'eval_steps': set it, or leave them out; "
            "'max_num_gen_batches' does nothing without 'dynamic_sampling': set it, or leave it out");
}

TEST(WaitingKeys, AKeyThatTheTrainerNeverReadsIsRefusedOnce) {
  EXPECT_EQ(complaint("sft", {"eval_k"}), "");  // 'sft' does not use it: unused_keys.h says so
}

TEST(WaitingKeys, AreRefusedWithTheJob) {
  const auto check = [](const Json& keys) {
    Json job = {{"model_name_or_path", "/model"},
                {"train_files", {"/train.jsonl"}},
                {"reward_funcs", {{{"name", "math"}}}}};
    job.update(keys);
    return parse_job(dump_json(job), {}).status();
  };
  EXPECT_TRUE(check(Json::object()).ok()) << check(Json::object()).message();
  // Two samples are too few for the default eval_k, but nothing is evaluated: only the key itself is wrong.
  EXPECT_EQ(check({{"eval_num_generations", 2}}).message(),
            "'eval_num_generations' does nothing without 'eval_steps': set it, or leave it out");
}

}  // namespace
}  // namespace fulcrum
