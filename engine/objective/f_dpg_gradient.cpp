#include "engine/objective/f_dpg_gradient.h"

#include <ATen/TensorOperators.h>

#include <cmath>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

using generators::kInfinity;

// Below it log t counts as 0 where f' jumps there: log-probs in float would decide the sign by their last
// bits.
constexpr double kTie = 5e-7;

// The mean of the other rewards is subtracted, in the form that gives exactly 0 for equal ones.
std::vector<double> leave_one_out(std::span<const double> r) {
  const auto n = static_cast<double>(r.size());
  if (r.size() < 2) return {r.begin(), r.end()};
  double shift = 0;
  for (const double x : r) shift += x - r[0];
  std::vector<double> out;
  for (const double x : r) out.push_back((n * (x - r[0]) - shift) / (n - 1));
  return out;
}

// The baseline where it is one number.
double baseline_value(const Baseline& baseline, double centre) {
  switch (baseline.kind) {
    case Baseline::Kind::kCentre:
      return centre;
    case Baseline::Kind::kConstant:
      return baseline.value;
    default:
      return 0;
  }
}

double log_ratio(const SampleScores& sample, double log_z) {
  if (sample.log_target == -kInfinity) return kInfinity;
  return sample.log_policy - (sample.log_target - log_z);
}

}  // namespace

PseudoReward::PseudoReward(std::shared_ptr<const Divergence> divergence, std::optional<double> max)
    : divergence_(std::move(divergence)),
      at_target_(-divergence_->facts().slope_at_one),
      outside_(-divergence_->facts().slope_at_infinity),
      max_(max) {}

Result<PseudoReward> PseudoReward::alpha_dpg(double alpha, double max) {
  if (!(alpha >= 0 && alpha <= 1)) return invalid_argument("alpha-DPG's alpha must be between 0 and 1");
  TRY(divergence, make_divergence("alpha_divergence", {.alpha = alpha}));
  PseudoReward out(std::move(divergence), max);
  out.scale_ = 1 - alpha;
  out.outside_ = -1;
  return out;
}

double PseudoReward::operator()(double log_t) const {
  if (log_t == kInfinity) return outside_;
  if (!divergence_->facts().smooth && std::abs(log_t) < kTie) log_t = 0;
  const double r = -scale_ * divergence_->at_log_ratio(Quantity::kSlope, log_t);
  return max_ && r > *max_ ? *max_ : r;
}

Result<Baseline> parse_baseline(std::string_view name, double value) {
  if (name == "none") return Baseline{Baseline::Kind::kNone, 0};
  if (name == "centre") return Baseline{Baseline::Kind::kCentre, 0};
  if (name == "constant") return Baseline{Baseline::Kind::kConstant, value};
  if (name == "leave_one_out") return Baseline{Baseline::Kind::kLeaveOneOut, 0};
  return invalid_argument("baseline must be none, centre, constant or leave_one_out, not " + in_quotes(name));
}

SampleWeights GradientRule::operator()(std::span<const SampleScores> samples,
                                       std::span<const double> log_z) const {
  SampleWeights out;
  for (size_t i = 0; i < samples.size(); ++i) {
    out.log_t.push_back(log_ratio(samples[i], log_z[i]));
    out.pseudo_reward.push_back(reward(out.log_t[i]));
    out.capped_rewards += reward.max() && out.pseudo_reward[i] == *reward.max();
  }
  const bool leave_out = baseline.kind == Baseline::Kind::kLeaveOneOut;
  const double b = baseline_value(baseline, reward.at_target());
  if (leave_out) out.advantage = leave_one_out(out.pseudo_reward);
  // rho r = (pi/q)(p/pi) = p/q, taken at once: its factors may be 0 and inf.
  const bool direct = reward.divergence().name() == "forward_kl" && !reward.max() && !leave_out;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (!leave_out) out.advantage.push_back(out.pseudo_reward[i] - b);
    const double log_importance = samples[i].log_policy - samples[i].log_proposal;
    const bool capped = log_importance > log_importance_max;
    out.capped_importance += capped;
    out.importance.push_back(std::exp(capped ? log_importance_max : log_importance));
    out.weight.push_back(direct && !capped
                             ? std::exp(samples[i].log_weight() - log_z[i]) - out.importance[i] * b
                             : out.importance[i] * out.advantage[i]);
  }
  return out;
}

at::Tensor surrogate_loss(const at::Tensor& logps_N, const at::Tensor& weights_N) {
  return -(weights_N.detach().to(at::kDouble) * logps_N.to(at::kDouble)).sum();
}

}  // namespace fulcrum
