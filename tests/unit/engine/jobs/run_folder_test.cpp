#include "engine/jobs/run_folder.h"

#include <algorithm>

#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using testing::bytes_of;
using testing::expect_ok;
using testing::TempFolder;
using testing::value_of;

struct RunFolderTest : ::testing::Test {
  std::unique_ptr<RunFolder> open() { return value_of(RunFolder::open(path)); }
  std::vector<Json> events() const {
    std::vector<Json> all;
    std::string text = bytes_of(path / "events.jsonl");
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const Result<Json> line = parse_json(text.substr(begin, end - begin));
      all.push_back(line.ok() ? *line : Json("torn"));
    }
    return all;
  }
  TempFolder folder;
  const Path path = folder.path() / "runs" / "first";
};

TEST_F(RunFolderTest, HasTheLayoutOfTheDesign) {
  auto run = open();
  expect_ok(run->resume_after(-1));
  expect_ok(run->write_config({{"learning_rate", 0.001}}));
  EXPECT_EQ(value_of(run->metrics(1, {{"loss", 0.5}})), 0);
  expect_ok(run->event(EventLevel::kInfo, "message", "hello"));
  const std::vector<Json> rows = {{{"prompt", "1+1"}, {"completion", "2"}},
                                  {{"prompt", "2+2"}, {"completion", "4"}}};
  expect_ok(run->completions(1, rows));
  expect_ok(run->sync());
  for (const char* part :
       {"config.json", "metrics.jsonl", "events.jsonl", "tensorboard", "completions/step_1.jsonl"}) {
    EXPECT_TRUE(std::filesystem::exists(path / part)) << part;
  }
  EXPECT_EQ(run->checkpoints(), path / "checkpoints");
  EXPECT_EQ(bytes_of(path / "completions/step_1.jsonl"),
            "{\"prompt\":\"1+1\",\"completion\":\"2\"}\n{\"prompt\":\"2+2\",\"completion\":\"4\"}\n");
}

TEST_F(RunFolderTest, TheConfigIsReadBackAndAbsentBeforeTheFirstWrite) {
  auto run = open();
  EXPECT_FALSE(value_of(run->read_config()).has_value());
  expect_ok(run->write_config({{"beta", 0.1}}));
  EXPECT_EQ(*value_of(run->read_config()), (Json{{"beta", 0.1}}));
  expect_ok(write_file_atomic(path / "config.json", "{"));
  EXPECT_NE(run->read_config().status().message().find("config.json"), std::string::npos);
}

TEST_F(RunFolderTest, EventsHaveTheOpenAiShapeAndAreNumberedOnAcrossStarts) {
  {
    auto run = open();
    expect_ok(run->event(EventLevel::kInfo, "message", "one", {{"x", 1}}));
  }
  expect_ok(append_file(path / "events.jsonl", "{\"id\":\"eve"));  // killed in the middle of a line
  expect_ok(open()->event(EventLevel::kWarn, "message", "three"));
  const std::vector<Json> all = events();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["id"], "event-000001");
  EXPECT_EQ(all[0]["level"], "info");
  EXPECT_EQ(all[0]["type"], "message");
  EXPECT_EQ(all[0]["message"], "one");
  EXPECT_EQ(all[0]["data"], (Json{{"x", 1}}));
  EXPECT_TRUE(all[0]["created_at"].is_number_integer());
  EXPECT_EQ(all[1], "torn");
  EXPECT_EQ(all[2]["id"], "event-000003");
}

TEST_F(RunFolderTest, AResumedRunThatDivergesSaysSoInAnEvent) {
  {
    auto run = open();
    expect_ok(run->resume_after(-1));
    for (int s = 1; s <= 3; ++s) value_of(run->metrics(s, {{"loss", s * 0.5}, {"perf/mfu", 0.1}}));
  }
  auto run = open();
  expect_ok(run->resume_after(1));
  EXPECT_EQ(value_of(run->metrics(2, {{"loss", 1.0}, {"perf/mfu", 0.2}})), 0);
  EXPECT_EQ(value_of(run->metrics(3, {{"loss", 1.25}, {"perf/mfu", 0.1}})), 1);
  const std::vector<Json> all = events();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["level"], "warn");
  EXPECT_EQ(all[0]["data"], (Json{{"step", 3}, {"field", "loss"}, {"before", "1.5"}, {"after", "1.25"}}));
}

TEST_F(RunFolderTest, MetricsBeforeTheResumePointIsKnownAreRefused) {
  EXPECT_EQ(open()->metrics(1, {{"loss", 1}}).status().code(), Code::kFailedPrecondition);
}

TEST_F(RunFolderTest, ASecondProcessIsRefusedWithThePidOfTheFirst) {
  auto run = open();
  const Result<std::unique_ptr<RunFolder>> second = RunFolder::open(path);
  EXPECT_EQ(second.status().code(), Code::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("process " + std::to_string(::getpid())), std::string::npos)
      << second.status().message();
  run.reset();
  EXPECT_TRUE(RunFolder::open(path).ok());
}

}  // namespace
}  // namespace fulcrum
