// `length`: a score for the number of tokens alone. With `max_length` L and `soft_length` c it is DAPO's soft
// overlong punishment (Yu et al., "DAPO", 2025, eq. 13):
//     0 if n <= L - c;    ((L - c) - n) / c if L - c < n <= L;    -1 if n > L
// with `target` t it is max(0, 1 - |n - t| / t).
#include <algorithm>
#include <cmath>

#include "reward/verifier.h"

namespace fulcrum {
namespace {

class LengthReward final : public Verifier {
 public:
  using Verifier::Verifier;

 private:
  Verdict judge(const RewardRequest& request, Budget&) const override {
    const auto n = static_cast<double>(request.num_tokens);
    if (config().target) {
      const auto target = static_cast<double>(*config().target);
      return scored(std::max(0.0, 1 - std::fabs(n - target) / target));
    }
    const auto limit = static_cast<double>(*config().max_length),
               soft = static_cast<double>(config().soft_length);
    if (n > limit) return scored(-1, "longer than max_length");
    return scored(n <= limit - soft ? 0.0 : (limit - soft - n) / soft);
  }
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_length(const RewardConfig& config) {
  if (config.target.has_value() == config.max_length.has_value()) {
    return invalid_argument("reward 'length' needs exactly one of the keys 'target' and 'max_length'");
  }
  if (config.max_length && config.soft_length > *config.max_length) {
    return invalid_argument("reward 'length': soft_length must not exceed max_length");
  }
  return std::unique_ptr<RewardFunction>(std::make_unique<LengthReward>(config));
}

}  // namespace fulcrum
