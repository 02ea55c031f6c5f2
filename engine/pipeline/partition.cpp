#include "engine/pipeline/partition.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr std::array kNames = {std::pair{PromptLabel::kPef, std::string_view("pef")},
                               std::pair{PromptLabel::kExp, std::string_view("exp")},
                               std::pair{PromptLabel::kDrop, std::string_view("drop")},
                               std::pair{PromptLabel::kIncomplete, std::string_view("incomplete")}};

bool is_complete(const PartitionRule& rule, std::span<const uint8_t> correct) {
  return std::ssize(correct) >= rule.k;
}

int64_t count_correct(const PartitionRule& rule, std::span<const uint8_t> correct) {
  return std::count(correct.begin(), correct.begin() + rule.k, 1);
}

}  // namespace

std::string_view label_name(PromptLabel label) {
  for (const auto& [known, name] : kNames) {
    if (known == label) return name;
  }
  return "";
}

Result<PromptLabel> parse_label(std::string_view name) {
  for (const auto& [label, known] : kNames) {
    if (known == name) return label;
  }
  return invalid_argument("'label' must be pef, exp, drop or incomplete, not " + in_quotes(name));
}

bool is_candidate(const PartitionRule& rule, std::span<const uint8_t> correct) {
  return is_complete(rule, correct) && count_correct(rule, correct) >= rule.threshold;
}

PromptLabel label_prompt(const PartitionRule& rule, std::span<const uint8_t> correct, bool confirmed) {
  if (!is_complete(rule, correct)) return PromptLabel::kIncomplete;
  if (is_candidate(rule, correct)) {
    if (confirmed) return PromptLabel::kPef;
    return rule.drop_on_extra_fail ? PromptLabel::kDrop : PromptLabel::kExp;
  }
  const bool all_wrong = count_correct(rule, correct) == 0;
  return all_wrong && rule.drop_all_wrong ? PromptLabel::kDrop : PromptLabel::kExp;
}

double pef_share(std::span<const PromptLabel> labels) {
  if (labels.empty()) return 0;
  return static_cast<double>(std::count(labels.begin(), labels.end(), PromptLabel::kPef)) /
         static_cast<double>(labels.size());
}

}  // namespace fulcrum
