// How many jobs are in which state: what Stats and /metrics tell. Reads the whole store; thread-safe.
#pragma once

#include <cstdint>
#include <map>

#include "engine/core/status.h"
#include "engine/jobs/store.h"

namespace fulcrum {

// Every state has an entry.
Result<std::map<JobState, int64_t>> jobs_by_state(JobStore& store);

}  // namespace fulcrum
