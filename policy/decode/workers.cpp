#include "policy/decode/workers.h"

namespace fulcrum {

Workers::Workers(int64_t threads) {
  for (int64_t i = 1; i < threads; ++i) threads_.emplace_back([this, i] { serve(i); });
}

Workers::~Workers() {
  body_ = nullptr;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Workers::run(const std::function<void(int64_t)>& body) {
  if (!threads_.empty()) {
    body_ = &body;
    running_.store(static_cast<int64_t>(threads_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  body(0);
  for (int64_t left = running_.load(std::memory_order_acquire); left != 0;
       left = running_.load(std::memory_order_acquire)) {
    running_.wait(left, std::memory_order_acquire);
  }
}

void Workers::serve(int64_t worker) {
  for (uint32_t seen = 0;;) {
    round_.wait(seen, std::memory_order_acquire);
    // A round ends only when every worker has served it, so none is skipped.
    seen = round_.load(std::memory_order_acquire);
    if (body_ == nullptr) return;
    (*body_)(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace fulcrum
