#include "engine/jobs/state.h"

#include <gtest/gtest.h>

#include <set>

namespace fulcrum {
namespace {

using enum JobState;

std::set<JobState> reachable(JobState from) {
  std::set<JobState> seen;
  std::vector<JobState> open{from};
  while (!open.empty()) {
    const JobState state = open.back();
    open.pop_back();
    for (const JobState next : kJobStates) {
      if (may_move(state, next) && seen.insert(next).second) open.push_back(next);
    }
  }
  return seen;
}

TEST(JobStateLaws, NamesAreThoseOfTheApiAndReadBack) {
  std::set<std::string_view> names;
  for (const JobState state : kJobStates) {
    names.insert(job_state_name(state));
    EXPECT_EQ(*parse_job_state(job_state_name(state)), state);
  }
  EXPECT_EQ(names, (std::set<std::string_view>{"validating_files", "queued", "running", "pausing", "paused",
                                               "waiting_rollout", "waiting_reward", "succeeded", "failed",
                                               "cancelled"}));
  EXPECT_EQ(parse_job_state("finished").status().code(), Code::kInvalidArgument);
}

TEST(JobStateLaws, TheEndIsTheEnd) {
  for (const JobState state : {kSucceeded, kFailed, kCancelled}) {
    EXPECT_TRUE(is_terminal(state));
    EXPECT_TRUE(reachable(state).empty());
  }
}

TEST(JobStateLaws, EveryOtherStateCanReachEveryEndAndBeCancelledAtOnce) {
  for (const JobState state : kJobStates) {
    if (is_terminal(state)) continue;
    const std::set<JobState> ends = reachable(state);
    EXPECT_TRUE(ends.contains(kSucceeded) && ends.contains(kFailed)) << job_state_name(state);
    EXPECT_TRUE(may_move(state, kCancelled)) << job_state_name(state);
  }
}

TEST(JobStateLaws, EveryStateIsReachedFromQueued) { EXPECT_EQ(reachable(kQueued).size(), kJobStates.size()); }

TEST(JobStateLaws, NoStateMovesToItself) {
  for (const JobState state : kJobStates) EXPECT_FALSE(may_move(state, state)) << job_state_name(state);
}

TEST(JobStateLaws, OnlyAJobThatIsWorkedOnSucceedsOrWaits) {
  for (const JobState state : kJobStates) {
    for (const JobState next : {kSucceeded, kWaitingRollout, kWaitingReward, kPausing}) {
      EXPECT_TRUE(is_active(state) || !may_move(state, next)) << job_state_name(state);
    }
  }
}

TEST(JobStateLaws, AJobRunsOnlyAfterItsFilesWereRead) {
  EXPECT_FALSE(may_move(kQueued, kRunning));
  EXPECT_TRUE(may_move(kQueued, kValidatingFiles));
  EXPECT_TRUE(may_move(kValidatingFiles, kRunning));
}

TEST(JobStateLaws, ARestartLeavesNoJobActiveAndKeepsAPausePaused) {
  for (const JobState state : kJobStates) {
    const JobState after = after_restart(state);
    EXPECT_FALSE(is_active(after)) << job_state_name(state);
    EXPECT_TRUE(after == state || may_move(state, after)) << job_state_name(state);
    EXPECT_EQ(after_restart(after), after);
  }
  EXPECT_EQ(after_restart(kRunning), kQueued);
  EXPECT_EQ(after_restart(kPausing), kPaused);
  EXPECT_EQ(after_restart(kPaused), kPaused);
}

}  // namespace
}  // namespace fulcrum
