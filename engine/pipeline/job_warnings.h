// What a job warns of reaches those who watch it: every warning logged on the job's thread becomes an event
// of the run folder and of the job. Made by run_job. One thread.
#pragma once

#include <string>
#include <vector>

#include "engine/core/log.h"
#include "engine/jobs/control.h"
#include "engine/pipeline/journal.h"

namespace fulcrum {

class JobWarnings {
 public:
  explicit JobWarnings(JobControl& control)
      : control_(control), tee_([this](LogLevel level, std::string_view message) {
          if (level >= LogLevel::kWarn) note(std::string(message));
        }) {}

  // From here on there is a run folder; it gets what came before, too.
  void attach(Journal& journal);

 private:
  void note(std::string message);

  JobControl& control_;
  Journal* journal_ = nullptr;
  std::vector<std::string> before_;  // the run folder was open
  int64_t count_ = 0;
  LogTee tee_;
};

}  // namespace fulcrum
