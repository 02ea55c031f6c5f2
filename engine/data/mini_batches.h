// A rollout batch dealt into minibatches, one optimizer step each (PPO, arXiv 1707.06347, algorithm 1).
// Called by the learner. Pure but for the stream of random numbers it draws from.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/rng.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// The groups of each minibatch, drawn at random, within a minibatch in the batch's order; groups without rows
// are left out. Exploration and rehearsal groups are dealt each on their own, so that every minibatch has its
// share of both. `count` minibatches, at least 1: fewer where there are fewer groups of exploration rows, as
// after dynamic sampling.
std::vector<std::vector<int64_t>> deal_groups(const TrainBatch& batch, int64_t count, Rng& rng);

}  // namespace fulcrum
