// Judged samples of the policy as the job begins, for the stages before training. Called by presample.cpp and
// fit_target.cpp. One thread.
#pragma once

#include <vector>

#include "engine/pipeline/generation.h"
#include "engine/pipeline/job.h"

namespace fulcrum {

// Streams of sampling noise, apart from each other and from those of any training step.
enum class InitialStream : int64_t { kPresample = -1, kConfirm = -2, kFitTarget = -3 };

// `n` completions of each of the data set's `rows`. The weights of version 0 are published already.
Result<JudgedStep> draw_initial(BuiltJob& job, const std::vector<int64_t>& rows, InitialStream stream,
                                int64_t n);

}  // namespace fulcrum
