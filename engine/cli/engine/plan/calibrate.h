// What this machine does with a job's own shapes, measured in about two seconds by the code that a run uses:
// the learner's layers and head, the optimizer, the decoder. Models too large for that are measured by a part
// of their layers and of their vocabulary. Called by `fulcrum plan`. One thread; takes the job's threads
// while it runs.
#pragma once

#include "engine/core/status.h"
#include "engine/objective/objective.h"
#include "engine/pipeline/plan/time.h"

namespace fulcrum::cli {

// `objective`: the job's. kResourceExhausted, kInternal if the machine cannot do even the parts.
Result<Speeds> calibrate(const Workload& work, const Objective& objective);

}  // namespace fulcrum::cli
