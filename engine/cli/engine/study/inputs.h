// What a generated task begins with on disk: rows as JSONL files, and a small model of random weights with a
// tokenizer for the task's characters. Called by the demo and the study runner.
#pragma once

#include <string_view>
#include <vector>

#include "engine/cli/engine/study/study_config.h"
#include "engine/core/files.h"
#include "engine/core/json.h"

namespace fulcrum::cli {

Status write_rows(const Path& file, const std::vector<Json>& rows);

// Into `folder`, which is made: as transformers loads it.
Status write_small_model(const Path& folder, std::string_view characters, const StudyModel& size,
                         uint64_t seed);

}  // namespace fulcrum::cli
