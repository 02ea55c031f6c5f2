// DPH-RL's split of the training prompts (arXiv 2509.07430, section on data construction): which ones the
// initial policy already masters. Called by presample.cpp. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

enum class PromptLabel {
  kPef,        // near-perfect: rehearsed, with one stored sample
  kExp,        // explored
  kDrop,       // neither
  kIncomplete  // fewer than k samples were judged; explored
};
std::string_view label_name(PromptLabel label);  // "pef", "exp", "drop", "incomplete"
Result<PromptLabel> parse_label(std::string_view name);

struct PartitionRule {
  int64_t k = 8;
  int64_t threshold = 8;  // correct samples, of the first k, that make a candidate
  bool drop_on_extra_fail = false;
  bool drop_all_wrong = false;
};

// Whether a prompt needs the confirming sample: choosing a known-correct one of the k would be biased.
// `correct` has a flag for each judged sample.
bool is_candidate(const PartitionRule& rule, std::span<const uint8_t> correct);
// `confirmed`: the fresh sample of a candidate is correct.
PromptLabel label_prompt(const PartitionRule& rule, std::span<const uint8_t> correct, bool confirmed);

// The near-perfect ones' share of all prompts; 0 of none.
double pef_share(std::span<const PromptLabel> labels);

}  // namespace fulcrum
