// The learner's host-side numbers and their JSON form in a checkpoint, exact to the bit. Called by the
// learner.
#pragma once

#include <cstdint>

#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/learner/guards.h"
#include "engine/objective/objective.h"

namespace fulcrum {

struct HostState {
  int64_t steps_done = 0;       // rollout batches
  int64_t optimizer_steps = 0;  // updates; the exponent of AdamW's bias correction
  int64_t tokens_seen = 0;
  Streak skipped;      // optimizer steps skipped for a non-finite loss or gradient
  Streak zero_spread;  // rollout batches without reward spread
  ObjectiveState objective;
  int64_t reference_version = 0;
};

Json write_host_state(const HostState& state);
// kInvalidArgument naming the key.
Result<HostState> read_host_state(const Json& json);

}  // namespace fulcrum
