// What a judge says of one completion.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fulcrum {

enum class VerdictKind {
  kScored,    // `score` holds
  kNoAnswer,  // nothing to judge was found in the completion; `score` holds the reward's "no answer" value
  kBadReference,  // the data's own answer cannot be read: no score, the row is left out and counted
  kTimeout,       // the deadline or the step budget ran out: no score
  kFailed,        // the judge itself failed: no score
};

inline std::string_view verdict_name(VerdictKind k) {
  switch (k) {
    case VerdictKind::kScored:
      return "scored";
    case VerdictKind::kNoAnswer:
      return "no_answer";
    case VerdictKind::kBadReference:
      return "bad_reference";
    case VerdictKind::kTimeout:
      return "timeout";
    case VerdictKind::kFailed:
      return "failed";
  }
  return "failed";
}

struct Verdict {
  std::optional<double> score;  // finite; absent: the completion has no reward
  VerdictKind kind = VerdictKind::kFailed;
  std::string reason;                   // one line for people, already printable
  std::map<std::string, double> parts;  // scores of the parts of a weighted sum, by reward name
};

}  // namespace fulcrum
