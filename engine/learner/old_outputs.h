// What the models say of a batch before the update, for objectives that want it in prepare(). Called by the
// learner.
#pragma once

#include <stop_token>

#include "engine/core/status.h"
#include "engine/learner/agreement.h"
#include "engine/learner/micro_batch.h"

namespace fulcrum {

// Fills batch.old_logps where `needs.policy_logps` asks and batch.old_values where `needs.values` does, of
// one forward pass without gradients; each rank runs its share. kCancelled within a micro-batch of a stop
// request. Throws torch's exceptions.
Status fetch_old_outputs(const Models& models, const Needs& needs, const ForwardOptions& options,
                         Agreement& ranks, TrainBatch& batch, const std::stop_token& stop);

}  // namespace fulcrum
