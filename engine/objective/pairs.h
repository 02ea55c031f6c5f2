// What the objectives on preferences do first. Called by dpo.cpp and reward_model.cpp in prepare(). Pure.
#pragma once

#include "engine/core/metrics.h"
#include "engine/core/status.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// Sets the denominator to the number of pairs and counts those that say little: pairs/empty (a side has no
// token), pairs/identical. kInternal if rows 2i and 2i + 1 do not share a prompt.
Status prepare_pairs(TrainBatch& batch, Metrics& metrics);

}  // namespace fulcrum
