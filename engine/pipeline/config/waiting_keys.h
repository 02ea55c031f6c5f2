// Keys that act only beside a partner, as 'eval_k' beside 'eval_steps': without it they would be silently
// ignored, so they are errors. Called by check_job. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/core/complaints.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum {

struct WaitingKeys {
  std::vector<std::string> keys;
  std::string partner;
  bool (*has_partner)(const JobConfig&);
};

// The keys that wait for a partner of another room than their own; those of one room (of a reference, of a
// divergence) are in that room's check.
const std::vector<WaitingKeys>& waiting_keys();

// Complains of each that is set to another value than its default while its partner is off.
void check_waiting_keys(const JobConfig& config, Complaints& out);

}  // namespace fulcrum
