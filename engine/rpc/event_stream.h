// A job's events in order, without gaps, to whoever watches: what Watch and TailLog share. Blocks; called on
// a handler's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "engine/core/status.h"
#include "engine/jobs/store.h"

namespace fulcrum {

// Hands events `from`, from + 1, ... to `take` until it answers false. `follow`: waits for new ones until the
// job has ended and all were handed over, or a stop request (kCancelled); else returns after the last one
// there is.
Status follow_events(JobStore& store, const std::string& job_id, int64_t from, bool follow,
                     std::stop_token stop, const std::function<bool(const Event&)>& take);

}  // namespace fulcrum
