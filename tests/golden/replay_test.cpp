// Every golden file of this folder, through the replay tool.
#include "tests/replay/replay.h"

#include <gtest/gtest.h>

#include "engine/core/files.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

// Names in tests/golden, without .json.
const char* const kFiles[] = {"bema", "dph_rl", "f_dpg", "f_dpo", "policy_gradient", "salsa", "tdpo"};

class Replay : public ::testing::TestWithParam<const char*> {};

TEST_P(Replay, EveryOperationOfTheFileHolds) {
  const auto text =
      read_file(testing::source_folder() / "tests/golden" / (std::string(GetParam()) + ".json"));
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto file = parse_json(*text);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto tallies = replay::replay_file(*file, replay::all_ops());
  ASSERT_TRUE(tallies.ok()) << tallies.status().message();
  for (const auto& [name, tally] : *tallies) {
    EXPECT_GT(tally.run() + tally.skips(), 0) << name;
    EXPECT_LE(tally.worst(), 1) << name;
    for (const std::string& failure : tally.failures()) ADD_FAILURE() << name << ": " << failure;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Replay, ::testing::ValuesIn(kFiles),
                         [](const auto& file) { return std::string(file.param); });

TEST(ReplayTool, TakesAnOptionalFieldThatIsNullForOneThatIsAbsent) {
  const Json passk = {{"op", "passk"},
                      {"inputs", {{"n", {4, 4}}, {"c", {1, 4}}, {"k", {1}}, {"base_c", nullptr}}},
                      {"expected", {{"per_problem", {{0.25}, {1.0}}}, {"mean", {0.625}}}}};
  const Json soup = {
      {"op", "soup"},
      {"inputs",
       {{"weights", {0.0, 1.0}}, {"normalize", nullptr}, {"checkpoints", {{{"w", {0.5}}}, {{"w", {0.7}}}}}}},
      {"expected", {{"weights_used", {0.0, 1.0}}, {"soup", {{"w", {0.7}}}}}}};
  const auto tallies =
      replay::replay_file({{"ops", Json::object()}, {"cases", {passk, soup}}}, replay::all_ops());
  ASSERT_TRUE(tallies.ok()) << tallies.status().message();
  for (const auto& [op, tally] : *tallies) EXPECT_LE(tally.worst(), 1) << op;
}

TEST(ReplayTool, AFileWithoutACaseShowsNothing) {
  for (const Json& file :
       {Json{{"ops", Json::object()}, {"cases", Json::array()}}, Json{{"schema", "f_dpo/1"}}})
    EXPECT_EQ(replay::replay_file(file, replay::all_ops()).status().code(), Code::kInvalidArgument) << file;
}

TEST(ReplayTool, AnOperationItDoesNotKnowIsAnErrorThatNamesIt) {
  const Json file = {{"ops", Json::object()},
                     {"cases", {{{"op", "no_such_op"}, {"inputs", Json::object()}}}}};
  const auto tallies = replay::replay_file(file, replay::all_ops());
  EXPECT_EQ(tallies.status().code(), Code::kInvalidArgument);
  EXPECT_NE(tallies.status().message().find("no_such_op"), std::string::npos);
}

}  // namespace
}  // namespace fulcrum
