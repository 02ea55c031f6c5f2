// Judged rollouts, step by step, in order. Synchronous with max_staleness 0; else a thread of its own works
// ahead, so that generation overlaps training: step s is drawn by exactly version max(0, s - max_staleness),
// whoever is faster waits. Called by the online loop only.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "engine/types/verdict.h"

namespace fulcrum {

// The rollouts of one step.
struct JudgedStep {
  std::vector<RolloutGroup> groups;
  std::vector<std::vector<Verdict>> verdicts;
  double generate_seconds = 0, judge_seconds = 0;
  int64_t generated_tokens = 0;
  int64_t gen_batches = 0, drawn_groups = 0;  // more than one batch with dynamic sampling only
};

class Generation {
 public:
  // Makes the rollouts of one step with the weights of one version (counted in steps).
  using Make = std::function<Result<JudgedStep>(int64_t step, int64_t version, std::stop_token)>;

  Generation(Make make, int64_t first_step, int64_t last_step, int64_t max_staleness);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // The weights of `version` may be used from now on.
  void published(int64_t version);
  // The rollouts of `step`; steps are asked for in order, each once.
  Result<JudgedStep> take(int64_t step, std::stop_token stop);

  static int64_t version_for(int64_t step, int64_t max_staleness) {
    return std::max<int64_t>(0, step - max_staleness);
  }

 private:
  void work(std::stop_token stop, int64_t first_step, int64_t last_step);

  const Make make_;
  const int64_t max_staleness_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t newest_ = -1;                          // newest published version
  std::map<int64_t, Result<JudgedStep>> ready_;  // made and not yet taken
  std::jthread worker_;                          // last: joins before the rest goes
};

}  // namespace fulcrum
