// The table and the pictures of a study, from what was measured. Called by the study runner. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/cli/engine/study/model_meter.h"
#include "engine/cli/plot.h"
#include "engine/cli/table.h"

namespace fulcrum::cli {

// One measured checkpoint.
struct Finding {
  int64_t seed = 0;
  std::string model;
  int64_t step = 0;
  Values values;  // of the meter, and the run's metrics of that step
};

// The base and the arms, each at its last measured step: mean over seeds, and +- the standard deviation where
// there are several.
Table study_table(const StudyConfig& study, const std::vector<Finding>& findings);

// One curve a model: over k (x: k, y: pass@k), or over its measured steps; a point is the mean over seeds at
// a step, the band their smallest and largest.
Chart study_chart(const StudyConfig& study, const StudyChart& chart, const std::vector<Finding>& findings);

// The table as Markdown, with what it is a table of.
std::string study_markdown(const StudyConfig& study, const Table& table, int64_t seeds);

}  // namespace fulcrum::cli
