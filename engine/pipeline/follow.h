// What every rank but 0 of a data-parallel run does: a learner of its own for each of rank 0's jobs, which is
// given the same calls. It reads the job's models, and nothing else; rank 0 has the data, the rollouts, the
// rewards and the run folder. Called by the verbs `run` and `learner`. Blocks until rank 0 says the end.
#pragma once

#include <stop_token>

#include "engine/collective/collective.h"
#include "engine/core/status.h"

namespace fulcrum {

// The exit code that rank 0 ends with. An error: the group is broken, or this rank had to leave it. A stop
// request ends the step that is being done, on every rank, and with it the job; rank 0 says the end then.
Result<int> follow(const std::shared_ptr<Collective>& group, const std::stop_token& stop);

}  // namespace fulcrum
