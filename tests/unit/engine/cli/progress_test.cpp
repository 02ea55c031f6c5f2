#include "engine/cli/progress.h"

#include <gtest/gtest.h>

namespace fulcrum::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

TEST(ProgressLine, HasRateAndTimeLeft) {
  EXPECT_EQ(Progress::line("grpo", 30, 100, 60, 0, "loss 0.1"),
            "grpo 30/100  0.50 steps/s  2:20 left  loss 0.1");
}

TEST(ProgressLine, CountsOnlyTheStepsOfThisProcess) {
  // Resumed at 50: ten steps in five seconds, not sixty.
  EXPECT_EQ(Progress::line("sft", 60, 100, 5, 50, ""), "sft 60/100  2.00 steps/s  0:20 left  ");
}

TEST(ProgressLine, SaysHowLongItTookAtTheEnd) {
  EXPECT_EQ(Progress::line("sft", 100, 100, 3725, 0, "x"), "sft 100/100  0.03 steps/s  took 1:02:05  x");
}

TEST(ProgressLine, PromisesNothingBeforeTheFirstStep) {
  EXPECT_EQ(Progress::line("sft", 0, 100, 0, 0, "x"), "sft 0/100  x");
  EXPECT_EQ(Progress::line("sft", 50, 100, 9, 50, "x"), "sft 50/100  x");
}

TEST(Progress, WithoutATerminalWritesAPlainLineEveryFiveSeconds) {
  FakeClock clock;
  CaptureStderr();
  Progress progress("sft", /*terminal=*/false, clock);
  for (int step = 0; step < 10; ++step) {
    progress.update(step, 10, "");
    clock.advance(seconds(1));
  }
  progress.update(10, 10, "end");
  progress.finish();
  EXPECT_EQ(GetCapturedStderr(),
            "sft 0/10  \n"
            "sft 5/10  1.00 steps/s  0:05 left  \n"
            "sft 10/10  1.00 steps/s  took 0:10  end\n");
}

TEST(Progress, OnATerminalDrawsOverOneLineAndEndsIt) {
  FakeClock clock;
  CaptureStderr();
  {
    Progress progress("sft", /*terminal=*/true, clock);
    progress.update(0, 4, "");
    progress.update(1, 4, "");  // too soon to be drawn
    clock.advance(milliseconds(500));
    progress.update(2, 4, "");
  }
  const std::string out = GetCapturedStderr();
  EXPECT_EQ(std::count(out.begin(), out.end(), '\r'), 2);
  EXPECT_EQ(out.find("1/4"), std::string::npos);
  EXPECT_NE(out.find("████████████░░░░░░░░░░░░ sft 2/4"), std::string::npos) << out;
  EXPECT_EQ(out.back(), '\n');
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
}

TEST(Progress, NotesTheMetricsPeopleWatchInAFixedOrder) {
  Metrics metrics;
  add_metric(metrics, "reward", 3, 4);
  add_metric(metrics, "loss", 0.5);
  add_metric(metrics, "grad_norm", 9);
  EXPECT_EQ(metrics_note(metrics), "loss 0.5  reward 0.75");
  EXPECT_EQ(metrics_note({}), "");
}

}  // namespace
}  // namespace fulcrum::cli
