// Scores the groups of a step in parallel under one deadline, and survives its judges: one that throws gives
// failed verdicts, one that never comes back gives timeout verdicts and costs its thread, never the caller's
// time. Called by the pipeline and the verbs; `score` may be called from several threads.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/types/rollout.h"
#include "engine/types/verdict.h"
#include "reward/reward.h"

namespace fulcrum {

struct RewardPoolOptions {
  int threads = 2;
  Duration deadline = std::chrono::seconds(60);  // for one call of score()
  Duration slack =
      std::chrono::milliseconds(500);  // what a judge gets after the deadline to hand in what it has
};

class RewardPool {
 public:
  RewardPool(std::shared_ptr<const RewardFunction> judge, RewardPoolOptions options = {});
  // Waits for the threads, at most `slack`; what still hangs then is left behind and keeps the judge alive.
  ~RewardPool();
  RewardPool(const RewardPool&) = delete;
  RewardPool& operator=(const RewardPool&) = delete;

  // One verdict a completion, in the order of the groups. kCancelled if `stop` is requested. The texts are
  // copied, so nothing of `groups` is touched after the return.
  Result<std::vector<std::vector<Verdict>>> score(std::span<const RolloutGroup> groups, std::stop_token stop);

 private:
  struct State;
  std::shared_ptr<State> state_;
  RewardPoolOptions options_;
};

}  // namespace fulcrum
