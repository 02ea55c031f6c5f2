// dpo with the reference's log-probs computed in advance: the same training, from files that are never stale.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

class ReferenceCache : public ::testing::Test {
 protected:
  JobConfig job(bool precompute, Json keys = Json::object()) const {
    if (precompute) {
      keys["precompute_ref_log_probs"] = true;
      keys["ref_log_probs_cache"] = lab_.path("cache").string();
    }
    return lab_.job("dpo", keys);
  }
  std::vector<Path> cached() const {
    std::vector<Path> out;
    for (const auto& entry : std::filesystem::directory_iterator(lab_.path("cache"))) out.push_back(entry);
    return out;
  }
  // The cache's files with the time each was written.
  std::map<Path, std::filesystem::file_time_type> written() const {
    std::map<Path, std::filesystem::file_time_type> out;
    for (const Path& file : cached()) out[file] = std::filesystem::last_write_time(file);
    return out;
  }
  Lab lab_;
};

TEST_F(ReferenceCache, ChangesNoBitOfTheFirstEpochAndItsEvaluations) {
  const Json keys = {{"eval_steps", 3}, {"max_tokens_per_micro_batch", 60}};
  lab_.run_whole(job(false, keys), "without");
  lab_.run_whole(job(true, keys), "with");
  EXPECT_EQ(lab_.metrics("with"), lab_.metrics("without"));
  lab_.expect_same_checkpoints(6, "without", "with");
}

TEST_F(ReferenceCache, ChangesLaterEpochsByNoMoreThanRounding) {
  const Json keys = {{"prompts_per_step", 32}, {"max_steps", 7}, {"learning_rate", 1e-3}};
  lab_.run_whole(job(false, keys), "without");
  lab_.run_whole(job(true, keys), "with");
  const std::vector<Json> want = lab_.metrics("without"), got = lab_.metrics("with");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    for (const auto& [name, value] : want[i].items()) {
      const double x = value.get<double>();
      EXPECT_NEAR(got[i].at(name).get<double>(), x, 1e-5 * std::max(1.0, std::abs(x))) << name;
    }
  }
}

TEST_F(ReferenceCache, IsReadByTheNextJobWithTheSameBits) {
  lab_.run_whole(job(true), "first");
  const auto before = written();
  lab_.run_whole(job(true), "second");
  EXPECT_EQ(lab_.metrics("second"), lab_.metrics("first"));
  // Another beta is another job over the same log-probs.
  lab_.run_whole(job(true, {{"beta", 0.5}}), "third");
  EXPECT_EQ(before.size(), 1U);
  EXPECT_EQ(written(), before);
}

TEST_F(ReferenceCache, IsNotReadForAnotherReferenceOtherDataOrAnotherType) {
  lab_.run_whole(job(true), "first");
  const std::vector<Json> others = {{{"ref_model", lab_.path("other").string()}},
                                    {{"train_files", {lab_.path("val.jsonl").string()}}},
                                    {{"dtype", "bfloat16"}},
                                    {{"seed", 5}}};
  for (size_t i = 0; i < others.size(); ++i) {
    const std::string name = "other" + std::to_string(i);
    lab_.run_whole(job(true, others[i]), name);
    EXPECT_EQ(cached().size(), i + 2) << others[i].dump();
  }
}

TEST_F(ReferenceCache, ThatIsDamagedIsComputedAgain) {
  lab_.run_whole(job(true), "first");
  const Path file = cached().at(0);
  const std::string whole = read_file(file).value();
  for (const std::string& damaged : {whole.substr(0, whole.size() - 1), whole + "x", std::string()}) {
    ASSERT_TRUE(write_file_atomic(file, damaged).ok());
    const std::string name = "with" + std::to_string(damaged.size());
    lab_.run_whole(job(true), name);
    EXPECT_EQ(lab_.metrics(name), lab_.metrics("first"));
    EXPECT_TRUE(read_file(file).value() == whole);
  }
}

TEST_F(ReferenceCache, IsRefusedWhereItCouldNotAct) {
  JobConfig moving = job(true);
  moving.reference.sync_ref_model = true;
  EXPECT_EQ(check_job(moving).code(), Code::kInvalidArgument);
  JobConfig token_level = job(true);
  token_level.objective.trainer = "tdpo";
  token_level.objective.loss_type = "tdpo2";
  EXPECT_EQ(check_job(token_level).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum::testing
