// `regex`: 1 if the pattern matches somewhere in the completion. RE2: linear in the text, whatever the
// pattern.
#include <re2/re2.h>

#include "engine/core/text.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

constexpr int64_t kMaxMemory = 8 << 20;  // of the compiled pattern

class RegexReward final : public Verifier {
 public:
  RegexReward(RewardConfig config, std::unique_ptr<re2::RE2> pattern)
      : Verifier(std::move(config)), pattern_(std::move(pattern)) {}

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const re2::StringPiece text(request.completion.data(), request.completion.size());
    const bool found = re2::RE2::PartialMatch(text, *pattern_);
    return scored(found ? 1 : 0, found ? "" : "the pattern does not match");
  }

  std::unique_ptr<re2::RE2> pattern_;
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_regex(const RewardConfig& config) {
  if (config.pattern.empty()) return invalid_argument("reward 'regex' needs the key 'pattern'");
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxMemory);
  options.set_case_sensitive(!config.ignore_case);
  auto pattern = std::make_unique<re2::RE2>(config.pattern, options);
  if (!pattern->ok()) {
    return invalid_argument("reward 'regex': pattern " + in_quotes(config.pattern) + ": " +
                            printable(pattern->error()));
  }
  return std::unique_ptr<RewardFunction>(std::make_unique<RegexReward>(config, std::move(pattern)));
}

}  // namespace fulcrum
