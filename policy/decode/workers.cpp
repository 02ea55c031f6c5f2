#include "policy/decode/workers.h"

#include "engine/kernels/simd.h"

namespace fulcrum {
namespace {

// Waits until `value` is not `old`. A step of a small model takes less than the kernel needs to put a thread
// to sleep and wake it, so it is watched for about as long first.
template <class T>
T changed(const std::atomic<T>& value, T old) {
  constexpr int kLooks = 2000;
  for (int i = 0; i < kLooks; ++i) {
    if (const T now = value.load(std::memory_order_acquire); now != old) return now;
    kernels::spin_pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Workers::Workers(int64_t threads) {
  for (int64_t i = 1; i < threads; ++i) threads_.emplace_back([this, i] { serve(i); });
}

Workers::~Workers() {
  body_ = nullptr;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Workers::run(int64_t parts, const std::function<void(int64_t)>& body) {
  if (parts > 1) {
    body_ = &body;
    parts_ = parts;
    running_.store(static_cast<int64_t>(threads_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  body(0);
  for (int64_t left = running_.load(std::memory_order_acquire); left != 0;) left = changed(running_, left);
}

void Workers::serve(int64_t worker) {
  for (uint32_t seen = 0;;) {
    seen = changed(round_, seen);  // a round ends only when every worker has served it, so none is skipped
    if (body_ == nullptr) return;
    if (worker < parts_) (*body_)(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace fulcrum
