// What the rule-based rewards share: one request at a time, each with its own step budget. Used inside this
// folder only; a new verifier is a file with one class, one factory and a line in verifiers.def.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "reward/math/budget.h"
#include "reward/reward.h"
#include "reward/reward_config.h"

namespace fulcrum {

// Judges requests one by one. `judge` is const and thread-safe; it need not watch the clock beyond its
// budget: a spent budget becomes a timeout verdict here, whatever was returned.
class Verifier : public RewardFunction {
 public:
  explicit Verifier(RewardConfig config) : config_(std::move(config)) {}

  std::string_view name() const final { return config_.name; }
  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline deadline,
                             std::stop_token stop) const final;

 protected:
  virtual Verdict judge(const RewardRequest& request, Budget& budget) const = 0;

  const RewardConfig& config() const { return config_; }
  Verdict no_answer(std::string reason) const;

 private:
  RewardConfig config_;
};

Verdict scored(double score, std::string reason = "");
Verdict unscored(VerdictKind kind, std::string reason);
// 1 if `right`, else 0 with "got ..., want ..." as the reason.
Verdict scored_match(bool right, std::string_view got, std::string_view want);

// The factories of verifiers.def: make_exact(config), ... An error names the key that is missing or wrong.
#define VERIFIER(name) Result<std::unique_ptr<RewardFunction>> make_##name(const RewardConfig& config);
#include "reward/verifiers.def"
#undef VERIFIER

}  // namespace fulcrum
