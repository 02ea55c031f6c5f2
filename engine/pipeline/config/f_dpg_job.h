// What f_dpg and alpha_dpg ask of the rest of a job: where samples come from, who scores the features, what
// stands still. Called by check_job. Pure, torch-free.
#pragma once

#include <string>
#include <vector>

#include "engine/pipeline/config/job_config.h"

namespace fulcrum {

// One sentence each; empty: the job fits.
std::vector<std::string> f_dpg_complaints(const JobConfig& config);

}  // namespace fulcrum
