// What stops a run before a wrong number trains: each guard says in one line what it saw, where, and which
// key sets its threshold. Called by the learner. Values and pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "engine/core/status.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// Something that may happen now and then, but not `limit` times in a row.
struct Streak {
  int64_t in_row = 0;
  int64_t total = 0;
  // Notes whether it happened; true if the limit is reached (0: no limit).
  bool note(bool happened, int64_t limit) {
    in_row = happened ? in_row + 1 : 0;
    total += happened ? 1 : 0;
    return limit > 0 && in_row >= limit;
  }
};

// Whether rewards were given to exploration rows and no group has two different ones: nothing can be learnt
// from them.
bool has_no_reward_spread(const TrainBatch& batch);

// Policy and reference with the same weights must give the same log-probs: kDataLoss naming the row and the
// token of the largest difference if it is above `limit` (or not a number).
Status check_equal_logps(const TrainBatch& batch, std::span<const float> policy,
                         std::span<const float> reference, double limit);
// The same of rehearsal rows and the log-probs stored with them, before the policy that drew them has moved.
Status check_stored_logps(const TrainBatch& batch, std::span<const float> policy, double limit);

}  // namespace fulcrum
