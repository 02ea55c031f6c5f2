// What JobService works on. No generated header, so that programs may have it beside LibTorch's.
#pragma once

#include <functional>
#include <string>

#include "engine/core/files.h"
#include "engine/jobs/runner.h"
#include "engine/jobs/store.h"

namespace fulcrum {

// Must live until the server has stopped.
struct JobServiceParts {
  JobStore& store;
  JobRunner& runner;
  std::function<Status(const std::string& config)>
      check;                                           // whether a job file is one; the errors are the user's
  std::function<Result<Path>(const Job&)> run_folder;  // where a job keeps its checkpoints
};

}  // namespace fulcrum
