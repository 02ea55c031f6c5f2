// A job in this process with its progress on the terminal, stopped by signals: what `run` and `demo` share.
#pragma once

#include <string>

#include "engine/core/files.h"
#include "engine/core/signals.h"
#include "engine/core/status.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum::cli {

// Runs to the end, to an error, or to a signal (then kCancelled: the run folder can be resumed).
Status run_locally(const JobConfig& config, const Path& run_folder, const std::string& label,
                   const SignalStop& signals);

}  // namespace fulcrum::cli
