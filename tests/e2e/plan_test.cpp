// `fulcrum plan` against the kernel's account of the real run.
#include <gmock/gmock.h>

#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

class PlanTest : public Tools {
 protected:
  static Json row_of(const std::vector<Json>& rows, const std::string& part) {
    for (const Json& row : rows) {
      if (row["part"] == part) return row;
    }
    ADD_FAILURE() << "no part " << part;
    return {};
  }
  // The plan's peak is within a fifth of the run's.
  void expect_peak(const std::string& job) {
    const double planned = row_of(rows({"plan", job, "-o", "jsonl"}), "peak memory")["MiB"];
    const Finished done = fulcrum({"run", job, "--output-dir", path("run")});
    ASSERT_EQ(done.code, 0) << done.err;
    const double real = static_cast<double>(done.peak_kib) / 1024;
    EXPECT_GT(planned, 0.8 * real) << real << " MiB in truth";
    EXPECT_LT(planned, 1.2 * real) << real << " MiB in truth";
    std::printf("peak memory: planned %.0f MiB, %.0f MiB in truth\n", planned, real);
  }
  void make_model(int hidden, int layers, int inner) {
    out({"init-model", path("model"), "--characters", "0123456789+=", "--hidden-size", std::to_string(hidden),
         "--layers", std::to_string(layers), "--intermediate-size", std::to_string(inner), "--heads", "4",
         "--kv-heads", "4", "--max-positions", "1024"});
  }
};

// Many tokens through a thin model.
TEST_F(PlanTest, ThePeakOfATrainingWithLargeActivationsIsForetold) {
  make_model(64, 16, 176);
  std::string text;
  for (int i = 0; i < 500; ++i) text += std::to_string(i % 10);
  std::string texts;
  for (int i = 0; i < 16; ++i) texts += dump_json({{"text", text}}) + "\n";
  write("texts.jsonl", texts);
  expect_peak(write("sft.json", dump_json({{"trainer", "sft"},
                                           {"model_name_or_path", "model"},
                                           {"train_files", {"texts.jsonl"}},
                                           {"prompts_per_step", 16},
                                           {"max_steps", 1}})));
}

// Few tokens through a wide one, with a reference beside it.
TEST_F(PlanTest, ThePeakOfATrainingWithLargeWeightsIsForetold) {
  make_model(512, 5, 1408);
  expect_peak(small_job("grpo.json", {{"max_steps", 1}, {"beta", 0.05}, {"max_completion_length", 16}}));
}

TEST_F(PlanTest, TheTableEndsWithOneLineAndTheJsonHasItsNumbers) {
  small_model();
  const std::string job = small_job("job.json");
  EXPECT_THAT(out({"plan", job}),
              ::testing::ContainsRegex("\npeak memory about .* MiB, a step about .*s\n$"));
  const std::vector<Json> made = rows({"plan", job, "-o", "jsonl"});
  double sum = 0, peak = row_of(made, "peak memory")["MiB"];
  for (const Json& row : made) {
    if (row.value("at_peak", "") == "yes") sum += row["MiB"].get<double>();
  }
  EXPECT_NEAR(sum, peak, 0.01);
  EXPECT_GT(row_of(made, "generate")["seconds"].get<double>(), 0);
  EXPECT_GT(row_of(made, "train")["seconds"].get<double>(), 0);
  EXPECT_GT(row_of(made, "step")["seconds"].get<double>(), 0);
  EXPECT_FALSE(std::filesystem::exists(path("runs"))) << "nothing is written";
}

}  // namespace
}  // namespace fulcrum::testing
