// All that a run goes on from: what every checkpoint holds beside the model that transformers loads. Called
// by the journal.
#pragma once

#include <optional>
#include <string>

#include "engine/core/files.h"
#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/learner/learner.h"
#include "engine/pipeline/weight_history.h"

namespace fulcrum {

// References to the job's own objects.
struct RunState {
  Learner& learner;
  WeightHistory& history;
  // The numbers of the learner's last step as long as they are not recorded: a stop in the middle of an
  // evaluation keeps them, and the resumed run finishes that step first.
  std::optional<Metrics>& unrecorded;
  const std::string& base;  // content hash of the pre-trained model at the bottom of it all
};

// Into the checkpoint folder of step `step`, and back. Errors name the file.
Status write_run_state(const Path& checkpoint, int64_t step, const RunState& state);
Status read_run_state(const Path& checkpoint, int64_t step, int64_t epoch, const RunState& state);

// A step's numbers as they are recorded.
Json metrics_json(const Metrics& metrics);

}  // namespace fulcrum
