// Hands weight versions to those who generate. The learner's side of RolloutClient.
#pragma once

#include <memory>
#include <optional>

#include "engine/core/status.h"
#include "engine/publish/weight_set.h"

namespace fulcrum {

class WeightPublisher {
 public:
  virtual ~WeightPublisher() = default;
  // Makes the version usable by the next generate(). Does not wait for workers. Versions only grow, except
  // that a restarted job begins a new epoch. The set is shared, never changed.
  virtual Status publish(std::shared_ptr<const WeightSet> weights) = 0;
  // Bytes of weights that went to workers since the publisher began; nothing where none travel.
  virtual std::optional<int64_t> bytes_sent() const { return std::nullopt; }
};

}  // namespace fulcrum
