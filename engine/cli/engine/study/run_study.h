// Runs a study: for each seed the data, the stages and the arms, then measures every model and writes
// results.jsonl, table.md and the pictures into the folder. Interrupted, it goes on where it was. Called by
// the `study` verb. One thread.
#pragma once

#include <cstdint>

#include "engine/cli/engine/study/study_config.h"
#include "engine/cli/table.h"
#include "engine/core/signals.h"

namespace fulcrum::cli {

struct StudyRun {
  Path file;    // the study; its job files lie beside it
  Path folder;  // FOLDER/seed-<n>/{data, models, runs, <name>.json} and the results
  int64_t seeds = 1;
  uint64_t first_seed = 1;
  Path model;  // models/init is a copy of it; empty: the study's small Llama with random weights
};

// The table. kFailedPrecondition: the folder holds results of another study.
Result<Table> run_study(const StudyConfig& study, const StudyRun& run, const SignalStop& signals);

}  // namespace fulcrum::cli
