// The demo's task, made from a seed: sums of two numbers whose answer may be written in several correct ways.
// "27+38=" is answered by "65", by tens and units "60+5", or by column sums "50+15". The mix of forms in the
// warm-up data gives the first policy several modes; training may keep them or lose them, which is what the
// demo shows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/json.h"

namespace fulcrum::cli {

struct DemoTask {
  std::string characters;     // the alphabet of prompts and answers
  std::vector<Json> warm_up;  // {prompt, completion}: SFT rows, one of the forms each
  std::vector<Json> train;    // {prompt, solution}: problems to train on
  std::vector<Json> test;     // {prompt, solution}: other problems
};

// Pure in its arguments. Train, test and warm-up problems are drawn without replacement from the same pool.
DemoTask make_demo_task(uint64_t seed, int64_t warm_up, int64_t train, int64_t test);

// What an answer must look like to be judged at all (RE2): a number, or tens plus a rest. Questions never
// begin with a multiple of ten, so copying the question is no answer.
inline constexpr const char* kDemoAnswerPattern = R"(^(\d{1,3}|\d{1,2}0\+\d{1,2})$)";

}  // namespace fulcrum::cli
