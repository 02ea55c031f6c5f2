// What a job says when it ends for want of memory. Called by run_job().
#pragma once

#include "engine/core/status.h"
#include "engine/pipeline/job.h"

namespace fulcrum {

// `status`; where memory is what it lacks, of the host or of a GPU, its message says besides what the plan of
// the job is there and which keys make it smaller. `job`: null where it could not be built.
Status with_plan(Status status, const JobConfig& config, const BuiltJob* job);

}  // namespace fulcrum
