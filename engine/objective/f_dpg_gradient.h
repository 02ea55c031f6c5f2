// f-DPG's gradient estimator, number by number (Go et al., "Aligning Language Models with Preferences through
// f-divergence Minimization", arXiv 2302.08215, theorem 1 and algorithm 1): the samples of one context and
// its log Z become the weight of each sample's log-probability. In double, on the host. Called by f_dpg.cpp.
// Pure, thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/status.h"
#include "engine/divergence/divergence.h"

namespace fulcrum {

// Log-scores of a whole completion in nats, all three relative to one measure (log a, say): only their
// differences matter, and sums of per-token differences keep the digits that differences of sums lose.
struct SampleScores {
  double log_policy = 0;    // log pi
  double log_target = 0;    // log P, not normalised; -inf: the completion lies outside the target
  double log_proposal = 0;  // log q of what really drew the completion

  double log_weight() const { return log_target - log_proposal; }
};

// The pseudo-reward r = -f'(t), t = pi/p, from log t. It is what the policy is rewarded with in place of a
// reward.
class PseudoReward {
 public:
  PseudoReward(std::shared_ptr<const Divergence> divergence, std::optional<double> max);
  // alpha-DPG's (arXiv 2512.05962): min((p/pi)^(1-alpha) - 1, max), -1 outside the target. This is the
  // table's alpha_divergence times 1 - alpha.
  static Result<PseudoReward> alpha_dpg(double alpha, double max);

  // Raw; +inf where the policy lost what the target has and f' is unbounded; -f'(inf) at log t = inf.
  double operator()(double log_t) const;
  // The value at pi = p.
  double at_target() const { return at_target_; }
  const Divergence& divergence() const { return *divergence_; }
  std::optional<double> max() const { return max_; }

 private:
  std::shared_ptr<const Divergence> divergence_;
  double scale_ = 1;
  double at_target_;
  double outside_;  // at log t = inf
  std::optional<double> max_;
};

// What is subtracted from a pseudo-reward to make an advantage.
struct Baseline {
  enum class Kind {
    kNone,
    kCentre,       // -f'(1), the value at the optimum
    kConstant,     // `value`
    kLeaveOneOut,  // the mean of the other samples of the context; a single sample keeps its reward
  };
  Kind kind = Kind::kLeaveOneOut;
  double value = 0;
};
Result<Baseline> parse_baseline(std::string_view name, double value);

// One number a sample in each vector.
struct SampleWeights {
  std::vector<double> log_t;          // log(pi/p); inf outside the target
  std::vector<double> pseudo_reward;  // r, capped
  std::vector<double> advantage;      // A = r - b
  std::vector<double> importance;     // rho = pi/q, capped
  std::vector<double> weight;         // rho A: the loss is -mean(weight * log pi)
  int64_t capped_rewards = 0, capped_importance = 0;
};

struct GradientRule {
  PseudoReward reward;
  Baseline baseline;
  double log_importance_max = generators::kInfinity;

  // The samples of one context; log_z[i] is the estimate to use for sample i. Nothing is refused here: what
  // is not finite in `weight` is for the caller to report.
  SampleWeights operator()(std::span<const SampleScores> samples, std::span<const double> log_z) const;
};

// -sum sg[weight] log pi, a double scalar: its value means nothing, its gradient is the estimate.
at::Tensor surrogate_loss(const at::Tensor& logps_N, const at::Tensor& weights_N);

}  // namespace fulcrum
