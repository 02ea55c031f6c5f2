#include "engine/jobs/state.h"

#include <algorithm>
#include <string>
#include <vector>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

// Names, and for each state the states that may follow it.
struct Row {
  std::string_view name;
  std::vector<JobState> next;
};

const Row& row(JobState state) {
  using enum JobState;
  static const std::array<Row, kJobStates.size()> kRows = {{
      {"queued", {kValidatingFiles, kPaused, kCancelled}},
      {"validating_files", {kRunning, kPausing, kPaused, kQueued, kSucceeded, kFailed, kCancelled}},
      {"running",
       {kWaitingRollout, kWaitingReward, kPausing, kPaused, kQueued, kSucceeded, kFailed, kCancelled}},
      {"waiting_rollout",
       {kRunning, kWaitingReward, kPausing, kPaused, kQueued, kSucceeded, kFailed, kCancelled}},
      {"waiting_reward",
       {kRunning, kWaitingRollout, kPausing, kPaused, kQueued, kSucceeded, kFailed, kCancelled}},
      {"pausing", {kPaused, kRunning, kSucceeded, kFailed, kCancelled}},
      {"paused", {kRunning, kQueued, kFailed, kCancelled}},
      {"succeeded", {}},
      {"failed", {}},
      {"cancelled", {}},
  }};
  return kRows[static_cast<size_t>(state)];
}

}  // namespace

std::string_view job_state_name(JobState state) { return row(state).name; }

Result<JobState> parse_job_state(std::string_view name) {
  std::vector<std::string> names;
  for (const JobState state : kJobStates) {
    if (name == job_state_name(state)) return state;
    names.emplace_back(job_state_name(state));
  }
  return invalid_argument("unknown job state " + in_quotes(name) + "; there are " + join(names, ", "));
}

bool is_terminal(JobState state) { return row(state).next.empty(); }

bool is_active(JobState state) {
  using enum JobState;
  return state == kValidatingFiles || state == kRunning || state == kWaitingRollout ||
         state == kWaitingReward || state == kPausing;
}

bool may_move(JobState from, JobState to) {
  const std::vector<JobState>& next = row(from).next;
  return std::find(next.begin(), next.end(), to) != next.end();
}

JobState after_restart(JobState state) {
  if (!is_active(state)) return state;
  return state == JobState::kPausing ? JobState::kPaused : JobState::kQueued;
}

}  // namespace fulcrum
