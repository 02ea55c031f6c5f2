// The states of a job and the moves between them: one table, pure. The store refuses any move that is not in
// it.
//
//   queued ──► validating_files ──► running ◄──► waiting_rollout, waiting_reward
//      ▲              │                │ └─► pausing ─► paused ─┐
//      └── restart of the learner ─────┘                        ├─► running (still in memory) or queued
//   succeeded, failed, cancelled: the end
#pragma once

#include <array>
#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

enum class JobState : int {
  kQueued = 0,           // waits for its turn
  kValidatingFiles = 1,  // a learner took it and reads model, data and checkpoint
  kRunning = 2,
  kWaitingRollout = 3,  // running, but no worker generates
  kWaitingReward = 4,   // running, but no reward answers
  kPausing = 5,         // pauses at the next step boundary
  kPaused = 6,
  kSucceeded = 7,
  kFailed = 8,
  kCancelled = 9,
};

inline constexpr std::array kJobStates = {
    JobState::kQueued,        JobState::kValidatingFiles, JobState::kRunning, JobState::kWaitingRollout,
    JobState::kWaitingReward, JobState::kPausing,         JobState::kPaused,  JobState::kSucceeded,
    JobState::kFailed,        JobState::kCancelled};

std::string_view job_state_name(JobState state);  // "waiting_rollout"
Result<JobState> parse_job_state(std::string_view name);

// The job has come to its end: nothing moves it any more.
bool is_terminal(JobState state);
// A learner is working on it (or was, when it was killed).
bool is_active(JobState state);

bool may_move(JobState from, JobState to);

// Where a job that nobody works on any more goes when its learner stops or starts again: active jobs are
// queued again (they go on from their last checkpoint), one that was asked to pause is paused; the rest stay.
JobState after_restart(JobState state);

}  // namespace fulcrum
