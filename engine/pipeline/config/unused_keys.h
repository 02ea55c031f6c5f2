// Keys that the chosen trainer would silently ignore are errors: the user believes that they act. Called by
// check_job. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/core/complaints.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum {

struct KeyReaders {
  std::string key;                    // a key of the job, or a section's name and a dot: all keys in it
  std::vector<std::string> trainers;  // that read it
};

// One entry for every key of a job that some trainer does not read.
const std::vector<KeyReaders>& key_readers();

// Keys read by every trainer.
const std::vector<std::string>& common_keys();

// Complains of each key that is set to another value than its default and that the trainer does not read,
// or that does nothing beside the job's other keys.
void check_unused_keys(const JobConfig& config, Complaints& out);

}  // namespace fulcrum
