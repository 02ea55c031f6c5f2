// A job in this process with its progress on the terminal, stopped by signals: what `run` and `demo` share.
#pragma once

#include <memory>
#include <string>

#include "engine/core/files.h"
#include "engine/core/signals.h"
#include "engine/core/status.h"
#include "engine/learner/leader.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum::cli {

// Runs to the end, to an error, or to a signal (then kCancelled: the run folder can be resumed). `leader`: of
// the ranks that train together; null: alone.
Status run_locally(const JobConfig& config, const Path& run_folder, const std::string& label,
                   const SignalStop& signals, const std::shared_ptr<Leader>& leader = nullptr);

}  // namespace fulcrum::cli
