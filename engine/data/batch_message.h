// A TrainBatch as bytes and back, for the ranks of one run: exact to the bit, of one build. Called by the
// learner. Pure functions, thread-safe.
#pragma once

#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// Arrays are binary values: for CBOR, not for a text.
Json batch_message(const TrainBatch& batch);
// kDataLoss if it is not one.
Result<TrainBatch> read_batch_message(const Json& message);

}  // namespace fulcrum
