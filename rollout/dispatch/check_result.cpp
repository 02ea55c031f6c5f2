#include "rollout/dispatch/check_result.h"

#include <cmath>
#include <string>

namespace fulcrum {
namespace {

constexpr float kRounding = 1e-6f;

std::string text_of(PolicyVersion v) { return std::to_string(v.epoch) + "." + std::to_string(v.step); }

}  // namespace

Status check_completion(const Completion& c, const SamplingParams& sampling, const ResultLimits& limits) {
  const auto n = static_cast<int64_t>(c.ids.size());
  if (n < 1 || n > sampling.max_completion_length) {
    return invalid_argument("it has " + std::to_string(n) + " tokens; 1 to " +
                            std::to_string(sampling.max_completion_length) + " were asked for");
  }
  if (c.logps.size() != c.ids.size()) {
    return invalid_argument("it has " + std::to_string(n) + " tokens and " + std::to_string(c.logps.size()) +
                            " log-probs");
  }
  if (c.finish != FinishReason::kStop && c.finish != FinishReason::kLength) {
    return invalid_argument("it is not finished");
  }
  if (static_cast<int64_t>(c.text.size()) > n * limits.max_text_bytes_per_token) {
    return invalid_argument("its text has " + std::to_string(c.text.size()) +
                            " bytes, too many for its tokens");
  }
  for (size_t t = 0; t < c.ids.size(); ++t) {
    if (c.ids[t] < 0 || c.ids[t] >= limits.vocab_size) {
      return invalid_argument("token " + std::to_string(c.ids[t]) + " at " + std::to_string(t) +
                              " is outside the vocabulary of " + std::to_string(limits.vocab_size));
    }
    if (!std::isfinite(c.logps[t]) || c.logps[t] > kRounding) {
      return invalid_argument("the log-prob at " + std::to_string(t) + " is " + std::to_string(c.logps[t]));
    }
  }
  return ok_status();
}

Status check_result(const RolloutRequest& request, PolicyVersion version, const RolloutGroup& result,
                    const ResultLimits& limits) {
  if (result.version != version) {
    return invalid_argument("it was drawn by weights " + text_of(result.version) + ", not " +
                            text_of(version));
  }
  if (result.index != request.index) {
    return invalid_argument("it is for prompt " + std::to_string(result.index) + ", not " +
                            std::to_string(request.index));
  }
  if (static_cast<int64_t>(result.completions.size()) != request.num_generations) {
    return invalid_argument("it has " + std::to_string(result.completions.size()) + " completions; " +
                            std::to_string(request.num_generations) + " were asked for");
  }
  for (size_t g = 0; g < result.completions.size(); ++g) {
    const Status status = check_completion(result.completions[g], request.sampling, limits);
    if (!status.ok()) return status.with_context("completion " + std::to_string(g));
  }
  return ok_status();
}

}  // namespace fulcrum
