#include "engine/jobs/metrics_log.h"

#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using testing::bytes_of;
using testing::expect_ok;
using testing::TempFolder;
using testing::value_of;

struct MetricsLogTest : ::testing::Test {
  MetricsLog open(int64_t last_step) {
    Result<MetricsLog> log = MetricsLog::open(file, last_step);
    EXPECT_TRUE(log.ok()) << log.status().message();
    return std::move(log).value();
  }
  // A run that recorded steps 1..n with loss 1/step.
  void record(int64_t n) {
    MetricsLog log = open(-1);
    for (int64_t s = 1; s <= n; ++s)
      value_of(log.append(s, {{"loss", 1.0 / double(s)}, {"timing_s/step", 0.5}}));
  }
  bool waiting_for_comparison() const { return std::filesystem::exists(file.string() + ".redo"); }

  TempFolder folder;
  const Path file = folder.path() / "metrics.jsonl";
};

TEST_F(MetricsLogTest, EachStepIsOneLineWithTheStepFirst) {
  MetricsLog log = open(-1);
  EXPECT_EQ(log.last_step(), -1);
  value_of(log.append(1, {{"loss", 0.5}}));
  value_of(log.append(2, {{"loss", 0.1}, {"step", 99}}));
  EXPECT_EQ(bytes_of(file), "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.1}\n");
}

TEST_F(MetricsLogTest, AStepIsRecordedOnlyOnce) {
  MetricsLog log = open(-1);
  value_of(log.append(5, {{"loss", 0.5}}));
  EXPECT_EQ(log.append(5, {{"loss", 0.5}}).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(log.append(4, {{"loss", 0.5}}).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(bytes_of(file), "{\"step\":5,\"loss\":0.5}\n");
}

TEST_F(MetricsLogTest, AResumeCutsTheLogBackToTheCheckpoint) {
  record(5);
  EXPECT_EQ(open(3).last_step(), 3);
  EXPECT_EQ(bytes_of(file).find("\"step\":4"), std::string::npos);
  EXPECT_TRUE(waiting_for_comparison());
}

TEST_F(MetricsLogTest, StepsDoneAgainWithTheSameBitsDifferInNothing) {
  record(5);
  MetricsLog log = open(2);
  for (int64_t s = 3; s <= 5; ++s) {
    EXPECT_TRUE(value_of(log.append(s, {{"loss", 1.0 / double(s)}, {"timing_s/step", 7.0}, {"perf/mfu", 1}}))
                    .empty());
  }
  EXPECT_FALSE(waiting_for_comparison()) << "everything was compared";
}

TEST_F(MetricsLogTest, ADifferenceInTheLastBitNamesStepAndField) {
  record(5);
  MetricsLog log = open(2);
  const double other = std::nextafter(1.0 / 3.0, 1.0);
  const auto differences = value_of(log.append(3, {{"loss", other}, {"timing_s/step", 0.5}}));
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].step, 3);
  EXPECT_EQ(differences[0].field, "loss");
  EXPECT_EQ(differences[0].before, "0.3333333333333333");
  EXPECT_EQ(differences[0].after, "0.33333333333333337");
  EXPECT_EQ(
      describe(differences[0]),
      "step 3: 'loss' was 0.3333333333333333 and is now 0.33333333333333337: the resumed run is not the run "
      "before it");
}

TEST_F(MetricsLogTest, FieldsThatCameOrWentAreDifferences) {
  record(3);
  MetricsLog log = open(2);
  const auto differences = value_of(log.append(3, {{"kl", 0.5}}));
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].after, "absent");
  EXPECT_EQ(differences[1].field, "kl");
  EXPECT_EQ(differences[1].before, "absent");
}

TEST_F(MetricsLogTest, OldLinesOutliveASecondKillBeforeTheyAreCompared) {
  record(6);
  {
    MetricsLog log = open(2);
    value_of(log.append(3, {{"loss", 1.0 / 3}}));  // killed again here
  }
  MetricsLog log = open(2);
  for (int64_t s = 3; s <= 5; ++s) value_of(log.append(s, {{"loss", 1.0 / double(s)}}));
  EXPECT_EQ(value_of(log.append(6, {{"loss", 0.0}, {"timing_s/step", 1}})).size(), 1u);
}

TEST_F(MetricsLogTest, TornAndForeignLinesAreLeftOutAndCounted) {
  record(2);
  expect_ok(
      append_file(file, "not json\n{\"loss\":1}\n{\"step\":-4}\n{\"step\":2,\"loss\":8}\n{\"step\":3,\"lo"));
  MetricsLog log = open(3);
  EXPECT_EQ(log.lines_left_out(), 5);
  EXPECT_EQ(log.last_step(), 2);
  value_of(log.append(3, {{"loss", 1}}));
  EXPECT_TRUE(bytes_of(file).ends_with("\n{\"step\":3,\"loss\":1}\n"));
}

TEST_F(MetricsLogTest, ALongLogIsReadBackWhole) {
  record(2000);
  EXPECT_EQ(open(1999).last_step(), 1999);
}

}  // namespace
}  // namespace fulcrum
