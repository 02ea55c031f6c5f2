// The weights before the newest that generation may still ask for: with max_staleness k, step s is drawn by
// version max(0, s - k), before a resume and after it. Filled as versions are published, kept in every
// checkpoint as stale/version-<step>.safetensors. Called by the online loop and the journal; one thread.
#pragma once

#include <deque>
#include <memory>

#include "engine/core/files.h"
#include "engine/core/status.h"
#include "engine/publish/weight_set.h"

namespace fulcrum {

class WeightHistory {
 public:
  explicit WeightHistory(int64_t max_staleness) : max_staleness_(max_staleness) {}

  // A version that was published; versions come in order of their steps.
  void add(std::shared_ptr<const WeightSet> weights);
  // What is remembered, oldest first: at most max_staleness + 1 versions.
  const std::deque<std::shared_ptr<const WeightSet>>& versions() const { return versions_; }

  // Into the checkpoint of step `step`: the older versions that the steps from `step` on ask for.
  Status save(const Path& checkpoint, int64_t step) const;
  // Back from it, as versions of `epoch`. kDataLoss naming the file that is missing or of another model.
  Status load(const Path& checkpoint, int64_t step, int64_t epoch, const ModelSpec& spec);

 private:
  int64_t max_staleness_;
  std::deque<std::shared_ptr<const WeightSet>> versions_;
};

}  // namespace fulcrum
