// What a verb computes with. The option --threads: one by default, and never more than this process has
// cores; used by every verb that computes. The option --device: of those whose model learns or
// generates.
#pragma once

#include <cstdint>
#include <string>

#include "engine/cli/verb.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum::cli {

// Sets `threads` to N of --threads N, or with a warning to the number of usable cores; without the option it
// stays as it is.
CLI::Option* add_threads_option(CLI::App& verb, int64_t& threads, const std::string& doc);

// Of a job in this process: those of --threads for its `threads` and, where it generates, its
// `rollout_threads`. 0: as the job says.
void use_threads(JobConfig& config, int64_t threads);

// The option --device, for the job's `device` and `rollout_device`; empty: as the job says.
void add_device_option(CLI::App& verb, std::string& device);
// The same of a verb that only generates.
void add_generation_device_option(CLI::App& verb, std::string& device);
void use_device(JobConfig& config, const std::string& device);

}  // namespace fulcrum::cli
