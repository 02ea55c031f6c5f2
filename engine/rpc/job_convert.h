// Jobs, events and checkpoints to and from the wire; both ends use the same values. Pure, thread-safe.
#pragma once

#include "engine/core/status.h"
#include "engine/jobs/event.h"
#include "engine/jobs/store.h"
#include "fulcrum/v1/job.pb.h"

namespace fulcrum {

v1::JobState to_wire(JobState state);
Result<JobState> from_wire(v1::JobState state);

v1::Job to_wire(const Job& job, bool with_config = true);
Result<Job> from_wire(const v1::Job& job);

v1::JobEvent to_wire(const Event& event);
Result<Event> from_wire(const v1::JobEvent& event);

}  // namespace fulcrum
