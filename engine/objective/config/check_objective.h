// What single ranges cannot say of an objective's keys: which exclude or need each other, which values a
// trainer has. Called by check_job, so that a client refuses a job before an engine starts, and by
// make_objective, whose makers rely on it. Torch-free, pure.
#pragma once

#include <string_view>

#include "engine/core/complaints.h"
#include "engine/divergence/generators/table.h"
#include "engine/objective/config/objective_config.h"

namespace fulcrum {

// kInvalidArgument with every complaint. (A key that the trainer ignores is the job's business:
// engine/pipeline/config/unused_keys.h.)
Status check_objective(const ObjectiveConfig& config);

// Whether the objective compares the policy with a reference model at all.
bool uses_reference(const ObjectiveConfig& config);

// Only generators with f'(0+) = -inf and an invertible f' keep the optimum strictly positive, so that the
// partition function cancels in a pair (f-DPO, arXiv 2309.16240, theorem 1); others are kInvalidArgument with
// that reason.
Status check_dpo_link(std::string_view divergence, const generators::GeneratorFacts& facts);

// The facts of the generator `name`; all defaults for a name that is not in the table.
generators::GeneratorFacts facts_of(std::string_view name, const DivergenceOptions& options);

// Parts of check_objective.
void check_surrogate(const ObjectiveConfig& config, Complaints& out);
void check_f_dpg(const ObjectiveConfig& config, Complaints& out);

}  // namespace fulcrum
