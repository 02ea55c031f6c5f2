// Where in a text the answer stands. Called by the verifiers and, for the votes of maj@k, by evaluation.
// Pure, thread-safe, linear in the text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reward/reward_config.h"

namespace fulcrum {

// The answer in a completion, as `config.extract` says, trimmed; no value if there is none. With `auto` the
// place depends on `config.name`.
std::optional<std::string> answer_text(const RewardConfig& config, std::string_view completion);

// The same for the data's own answer, where a bare value is allowed too: what extraction finds, else the
// whole text.
std::string reference_text(const RewardConfig& config, std::string_view solution);

// What follows the last occurrence of `marker`, trimmed; no value if there is none.
std::optional<std::string> text_after(std::string_view text, std::string_view marker);

// A box that the end of the text leaves open. A completion with one was cut, and there is no answer in it;
// the data's own answer was not.
enum class OpenBox { kIsNone, kHoldsTheRest };

// The contents of the last \boxed{...}; boxes that belong together (reward/answer_list.h) count as one list.
struct BoxedText {
  std::string text;
  size_t end = 0;  // where the last box ends
};
std::optional<BoxedText> last_boxed(std::string_view text, OpenBox open_box = OpenBox::kIsNone);

// The place of a mathematical answer: what follows "answer is" (when it comes after the last box), the last
// box, the last formula ($..$, \(..\), \[..\]) or number. `marked`: it stood in a box or a formula.
struct MathText {
  std::string text;
  bool marked = false;
};
std::optional<MathText> math_text(std::string_view text, OpenBox open_box = OpenBox::kIsNone);

}  // namespace fulcrum
