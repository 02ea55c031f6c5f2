// Who generates. The pipeline sees only this interface: LocalRollout does the work in this process, the gRPC
// backend hands it to workers. Both give the same tokens for the same request and weights.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

class RolloutClient {
 public:
  virtual ~RolloutClient() = default;

  // All groups, in the order of the requests, every token drawn by exactly `version`. Blocks; a stop request
  // ends it within 2 s with kCancelled. kFailedPrecondition: that version was never published. One call at a
  // time.
  virtual Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests,
                                                     PolicyVersion version, std::stop_token stop) = 0;
};

}  // namespace fulcrum
