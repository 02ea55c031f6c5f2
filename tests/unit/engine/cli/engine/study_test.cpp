#include <gtest/gtest.h>

#include <set>

#include "engine/cli/engine/study/findings.h"
#include "engine/cli/engine/study/report.h"
#include "engine/cli/engine/study/study_config.h"
#include "engine/cli/engine/study/tasks.h"
#include "engine/core/text.h"
#include "tests/support/test_data.h"

namespace fulcrum::cli {
namespace {

using testing::TempFolder;

StudyConfig small_study() {
  StudyConfig study;
  study.title = "t";
  study.stages = {{.name = "start", .job = "a.json"}};
  study.arms = {{.name = "one", .job = "b.json"}, {.name = "two", .job = "b.json"}};
  study.base = "start";
  study.columns = {"pass@1", "kl"};
  return study;
}

std::string message(const Json& study) {
  const TempFolder folder;
  const Path file = folder.path() / "study.json";
  EXPECT_TRUE(write_file_atomic(file, dump_json(study)).ok());
  return load_study(file).status().message();
}

Json valid_study() {
  return {{"task", "sums"},
          {"stages", {{{"name", "sft"}, {"job", "sft.json"}}}},
          {"base", "sft"},
          {"arms", {{{"name", "grpo"}, {"job", "rl.json"}}}},
          {"measures", {{{"num_generations", 4}, {"k", {1}}}}}};
}

TEST(StudyConfigTest, EveryStudyOfTheRepositoryIsValidAndItsJobFilesAreThere) {
  int studies = 0;
  for (const auto& entry : std::filesystem::directory_iterator(testing::source_folder() / "configs/papers")) {
    const auto study = load_study(entry.path() / "study.json");
    ASSERT_TRUE(study.ok()) << study.status().message();
    for (const auto* list : {&study->stages, &study->arms}) {
      for (const StudyStage& stage : *list) {
        EXPECT_TRUE(stage.job.empty() || std::filesystem::exists(entry.path() / stage.job)) << stage.job;
      }
    }
    ++studies;
  }
  EXPECT_GT(studies, 0);
}

TEST(StudyConfigTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(message(valid_study()), "");
  Json study = valid_study();
  study["base"] = "grpo";
  EXPECT_NE(message(study).find("'base' must name one of the stages"), std::string::npos);
  study = valid_study();
  study["arms"][0]["name"] = "sft";
  EXPECT_NE(message(study).find("is there twice"), std::string::npos);
  study = valid_study();
  study["arms"][0]["name"] = "../escape";
  EXPECT_NE(message(study).find("a name has letters"), std::string::npos);
  study = valid_study();
  study["arms"][0].erase("job");
  study["arms"][0]["soup"] = {"init"};  // the model that a study begins with
  EXPECT_EQ(message(study), "");
  study["arms"][0]["soup"] = {"later"};
  EXPECT_NE(message(study).find("not made before it"), std::string::npos);
  study = valid_study();
  study["measures"][0]["k"] = {8};
  EXPECT_NE(message(study).find("has 8"), std::string::npos);
  study = valid_study();
  study["charts"] = {{{"file", "a/b.svg"}}};
  EXPECT_NE(message(study).find("plain file name"), std::string::npos);
}

TEST(StudyTaskTest, TheSameSeedMakesTheSameFilesAndEveryTextIsInTheAlphabet) {
  for (const char* name : {"sums", "stories"}) {  // tale is a prompt, the same for every seed
    const StudyTask a = make_study_task(name, 5), b = make_study_task(name, 5),
                    other = make_study_task(name, 6);
    EXPECT_EQ(a.files, b.files);
    EXPECT_NE(a.files.at("warm_up"), other.files.at("warm_up"));
    for (const auto& [file, rows] : a.files) {
      for (const Json& row : rows) {
        for (const auto& [key, value] : row.items()) {
          EXPECT_EQ(value.get<std::string>().find_first_not_of(a.characters), std::string::npos)
              << file << row;
        }
      }
    }
  }
}

TEST(StudyTaskTest, StoriesHaveTheSharesTheirHeaderSays) {
  const StudyTask task = make_study_task("stories", 1);
  double girls = 0, foxes = 0;
  const auto& rows = task.files.at("warm_up");
  for (const Json& row : rows) {
    const auto text = row["completion"].get<std::string>();
    girls += text.find(" she was ") != std::string::npos;
    foxes += text.find(" fox.") != std::string::npos;
  }
  EXPECT_NEAR(girls / static_cast<double>(rows.size()), 0.25, 0.02);
  EXPECT_NEAR(foxes / static_cast<double>(rows.size()), 0.10, 0.015);
  for (const Json& pair : task.files.at("pairs")) EXPECT_NE(pair["chosen"], pair["rejected"]);
}

TEST(StudyReport, TheTableShowsTheLastStepAsMeanAndDeviationOverSeeds) {
  const std::vector<Finding> findings = {{1, "start", 10, {{"pass@1", 0.5}}},
                                         {1, "one", 5, {{"pass@1", 0.9}}},
                                         {1, "one", 10, {{"pass@1", 0.6}, {"kl", 1}}},
                                         {2, "one", 10, {{"pass@1", 0.8}, {"kl", 3}}}};
  const Table table = study_table(small_study(), findings);
  ASSERT_EQ(table.rows.size(), 2U);  // nothing is known of "two"
  EXPECT_EQ(table.rows[0]["pass@1"], "0.5");
  EXPECT_FALSE(table.rows[0].contains("kl"));
  EXPECT_EQ(table.rows[1]["pass@1"], "0.7 +- 0.14");
  EXPECT_EQ(table.rows[1]["kl"], "2 +- 1.4");
}

TEST(StudyReport, AChartOverStepsHasThePointsMeanAndTheSeedsRange) {
  const std::vector<Finding> findings = {{1, "one", 5, {{"reward", 0.2}, {"kl", 1}}},
                                         {2, "one", 5, {{"reward", 0.4}, {"kl", 3}}},
                                         {1, "one", 10, {{"reward", 0.6}, {"kl", 4}}}};
  const Chart chart = study_chart(small_study(), {.file = "a.svg", .x = "kl", .y = "reward"}, findings);
  ASSERT_EQ(chart.curves.size(), 1U);
  EXPECT_EQ(chart.curves[0].x, (std::vector<double>{2, 4}));
  EXPECT_NEAR(chart.curves[0].y[0], 0.3, 1e-12);
  EXPECT_EQ(chart.curves[0].low[0], 0.2);
  EXPECT_EQ(chart.curves[0].high[0], 0.4);
  EXPECT_LE(chart.y_low, 0.2);
  EXPECT_GE(chart.y_high, 0.6);
}

TEST(StudyReport, AChartOverKReadsTheNumbersOutOfTheNames) {
  const std::vector<Finding> findings = {{1, "one", 5, {{"pass@1", 0.2}, {"pass@16", 0.9}, {"pass@4", 0.5}}}};
  const Chart chart = study_chart(small_study(), {.file = "a.svg", .x = "k", .y = "pass@k"}, findings);
  ASSERT_EQ(chart.curves.size(), 1U);
  EXPECT_EQ(chart.curves[0].x, (std::vector<double>{1, 4, 16}));
  EXPECT_EQ(chart.curves[0].y, (std::vector<double>{0.2, 0.5, 0.9}));
}

TEST(FindingsTest, WhatWasMeasuredSurvivesAndATornLineIsMeasuredAgain) {
  const TempFolder folder;
  const Path file = folder.path() / "results.jsonl";
  const Json study = {{"title", "t"}};
  {
    auto findings = Findings::open(file, study);
    ASSERT_TRUE(findings.ok());
    ASSERT_TRUE(findings->add({1, "one", 5, {{"kl", 0.1}}}).ok());
    ASSERT_TRUE(append_file(file, "{\"seed\": 1, \"mod").ok());
  }
  const auto again = Findings::open(file, study);
  ASSERT_TRUE(again.ok()) << again.status().message();
  ASSERT_EQ(again->all().size(), 1U);
  EXPECT_EQ(again->all()[0].values.at("kl"), 0.1);
  EXPECT_TRUE(again->has(1, "one", 5));
  EXPECT_FALSE(again->has(1, "one", 6));
  EXPECT_EQ(Findings::open(file, {{"title", "other"}}).status().code(), Code::kFailedPrecondition);
}

}  // namespace
}  // namespace fulcrum::cli
