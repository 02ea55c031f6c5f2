// `format`: 1 if the completion has the asked shape, else 0. The shapes agree with the rewards of these
// names:
//   think         TRL's think_format_reward: <think>, no second <think> anywhere, </think>, anything
//   think_answer  open-r1's format_reward: <think>\n...\n</think>\n<answer>\n...\n</answer> and nothing
//   around it boxed         a \boxed{} with something inside, braces balanced
#include "engine/core/text.h"
#include "reward/answer_text.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

bool is_think(std::string_view text) {
  constexpr std::string_view kOpen = "<think>";
  if (!text.starts_with(kOpen)) return false;
  const std::string_view rest = text.substr(kOpen.size());
  return rest.find(kOpen) == std::string_view::npos && rest.find("</think>") != std::string_view::npos;
}

bool is_think_answer(std::string_view text) {
  constexpr std::string_view kOpen = "<think>\n", kMiddle = "\n</think>\n<answer>\n", kClose = "\n</answer>";
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (!text.starts_with(kOpen) || !text.ends_with(kClose)) return false;
  const size_t middle = text.find(kMiddle, kOpen.size());
  return middle != std::string_view::npos && middle + kMiddle.size() + kClose.size() <= text.size();
}

bool is_boxed(std::string_view text) {
  const std::optional<BoxedText> box = last_boxed(text);
  return box && !trim(box->text).empty();
}

class FormatReward final : public Verifier {
 public:
  using Verifier::Verifier;

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const std::string_view text = request.completion;
    const bool right = config().format == "think"          ? is_think(text)
                       : config().format == "think_answer" ? is_think_answer(text)
                                                           : is_boxed(text);
    return scored(right ? 1 : 0, right ? "" : "not of the format '" + config().format + "'");
  }
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_format(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<FormatReward>(config));
}

}  // namespace fulcrum
