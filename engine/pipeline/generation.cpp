#include "engine/pipeline/generation.h"

#include <algorithm>
#include <utility>

namespace fulcrum {

Generation::Generation(Make make, int64_t first_step, int64_t last_step, int64_t max_staleness)
    : make_(std::move(make)), max_staleness_(max_staleness) {
  if (max_staleness_ > 0) {
    worker_ = std::jthread(
        [this, first_step, last_step](std::stop_token stop) { work(stop, first_step, last_step); });
  }
}

Generation::~Generation() {
  worker_.request_stop();
  changed_.notify_all();
}

void Generation::published(int64_t version) {
  const std::lock_guard lock(mutex_);
  newest_ = std::max(newest_, version);
  changed_.notify_all();
}

Result<JudgedStep> Generation::take(int64_t step, std::stop_token stop) {
  if (max_staleness_ == 0) return make_(step, step, stop);
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop, [&] { return ready_.contains(step); })) return cancelled();
  auto node = ready_.extract(step);
  return std::move(node.mapped());
}

void Generation::work(std::stop_token stop, int64_t first_step, int64_t last_step) {
  for (int64_t step = first_step; step < last_step; ++step) {
    const int64_t version = version_for(step, max_staleness_);
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return newest_ >= version; })) return;
    }
    Result<JudgedStep> made = make_(step, version, stop);
    const bool fine = made.ok();
    {
      const std::lock_guard lock(mutex_);
      ready_.emplace(step, std::move(made));
    }
    changed_.notify_all();
    if (!fine) return;
  }
}

}  // namespace fulcrum
