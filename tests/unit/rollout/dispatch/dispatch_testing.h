// Shared by the tests of rollout/dispatch: requests, and the results an honest worker gives for them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/types/rollout.h"
#include "rollout/dispatch/book.h"

namespace fulcrum::testing {

inline constexpr PolicyVersion kVersion{2, 7};
inline constexpr int64_t kVocabulary = 100;

inline RolloutRequest request_for(int64_t index, int64_t step = 7) {
  RolloutRequest request;
  request.step = step;
  request.index = index;
  request.num_generations = 2;
  request.sampling.max_completion_length = 4;
  request.prompt.row = index;
  request.prompt.text = "prompt " + std::to_string(index);
  return request;
}

inline std::vector<RolloutRequest> requests_up_to(int64_t n, int64_t step = 7) {
  std::vector<RolloutRequest> all;
  for (int64_t i = 0; i < n; ++i) all.push_back(request_for(i, step));
  return all;
}

// A pure function of the request, as generation is.
inline RolloutGroup honest_result(const RolloutRequest& request, PolicyVersion version = kVersion) {
  RolloutGroup group;
  group.index = request.index;
  group.version = version;
  for (int64_t g = 0; g < request.num_generations; ++g) {
    Completion c;
    c.ids = {static_cast<TokenId>((request.index + g) % kVocabulary), 1};
    c.logps = {-0.5f, 0.0f};
    c.text = std::to_string(request.index) + "/" + std::to_string(g);
    group.completions.push_back(c);
  }
  return group;
}

inline BookOptions book_options() {
  BookOptions options;
  options.epoch = kVersion.epoch;
  options.limits.vocab_size = kVocabulary;
  return options;
}

}  // namespace fulcrum::testing
