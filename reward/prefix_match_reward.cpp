// `prefix_match`: a dense reward for texts that must be continued exactly (digit completion, the
// arithmetic-sequence task of verl's tests). There each character earns 1 / (len(truth) + 1) while the
// response agrees with the truth and 0 from the first mismatch on, and the end token earns what the last
// character earned (an empty truth: 1 for ending at once). The score of a completion is the sum of these:
// with m agreeing leading bytes
//     (m + ended) / (len(truth) + 1),    ended = 1 if every byte agreed and the completion was not cut by its
//     length
// so a perfect, ended completion has 1. A completion that ends at once scores 0 unless the truth is empty.
#include <algorithm>

#include "reward/verifier.h"

namespace fulcrum {
namespace {

class PrefixMatchReward final : public Verifier {
 public:
  using Verifier::Verifier;

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const Result<std::string> truth = solution_of(*request.columns);
    if (!truth.ok()) return unscored(VerdictKind::kBadReference, truth.status().message());
    const std::string_view text = request.completion;
    const size_t common = std::min(text.size(), truth->size());
    const auto matched = static_cast<size_t>(
        std::mismatch(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(common), truth->begin())
            .first -
        text.begin());
    const bool all_agreed = matched == text.size() && (matched > 0 || truth->empty());
    const size_t ended = all_agreed && !request.truncated ? 1 : 0;
    return scored(static_cast<double>(matched + ended) / static_cast<double>(truth->size() + 1));
  }
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_prefix_match(const RewardConfig& config) {
  return std::unique_ptr<RewardFunction>(std::make_unique<PrefixMatchReward>(config));
}

}  // namespace fulcrum
