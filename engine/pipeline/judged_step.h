// A step's rollouts: prompts drawn from the data, completed and judged; with dynamic sampling until enough of
// them can be learnt from. Called by the online loop, on whichever thread generates. Pure in (seed, step,
// version).
#pragma once

#include "engine/pipeline/generation.h"
#include "engine/pipeline/job.h"

namespace fulcrum {

// kFailedPrecondition: dynamic sampling did not fill the step within max_num_gen_batches.
Result<JudgedStep> make_step(BuiltJob& job, int64_t step, int64_t version, std::stop_token stop);

// Warns of completions without a score, with the first one's reason; once in a row of such steps (`said`).
void warn_unscored(int64_t step, const JudgedStep& made, bool& said);

}  // namespace fulcrum
