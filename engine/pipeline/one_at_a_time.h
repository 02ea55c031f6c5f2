// Lets one caller generate at a time, as RolloutClient asks: with max_staleness above 0 an evaluation comes
// from the job's thread while the steps ahead are generated on another. Thread-safe.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "rollout/rollout.h"

namespace fulcrum {

class OneAtATime final : public RolloutClient {
 public:
  explicit OneAtATime(std::shared_ptr<RolloutClient> rollouts) : rollouts_(std::move(rollouts)) {}

  // Waits for its turn, no longer than until a stop request.
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [&] { return !busy_; })) return cancelled();
    busy_ = true;
    lock.unlock();
    auto groups = rollouts_->generate(requests, version, std::move(stop));
    lock.lock();
    busy_ = false;
    changed_.notify_all();
    return groups;
  }

 private:
  const std::shared_ptr<RolloutClient> rollouts_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool busy_ = false;
};

}  // namespace fulcrum
