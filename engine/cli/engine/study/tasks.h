// The data of studies, made from a seed, so that a study needs no file of others. Called by the study runner.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"

namespace fulcrum::cli {

struct StudyTask {
  std::string characters;                          // the alphabet of all texts
  std::map<std::string, std::vector<Json>> files;  // rows by file name without .jsonl
};

// "sums": the demo's task (warm_up, train, test) and one that training never touches, differences "91-38="
// (other): warm_up teaches both, so `other` shows what a training forgets.
//
// "stories": one-line stories after the prompt "once ", "tom saw a cold owl. he was sad.". A quarter is about
// a girl, a tenth has a fox, and their mood is more often bad than good. Files: warm_up; tune_1 and tune_2,
// two disjoint sets with more good moods; train and test, the prompt alone; pairs and test_pairs, two stories
// of which the one in the better mood is mostly `chosen` (Bradley-Terry in the difference of moods).
//
// "tale": the prompt "Once upon a time" as train and test, for a model that has learnt to go on from there; no
// alphabet.
StudyTask make_study_task(std::string_view name, uint64_t seed);

}  // namespace fulcrum::cli
