// A few threads that run the parts of one piece of work together, again and again: the decoder's rows, the
// sampler's rows. One thread is the default and starts nothing. Used by one caller at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace fulcrum {

class Workers {
 public:
  explicit Workers(int64_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int64_t count() const { return static_cast<int64_t>(threads_.size()) + 1; }

  // Runs body(0) ... body(parts - 1) at once, 0 on the caller's thread; returns when all are done. At most
  // count() parts; one part wakes nobody, and may run parts itself. `body` must not throw.
  void run(int64_t parts, const std::function<void(int64_t part)>& body);

 private:
  void serve(int64_t worker);

  const std::function<void(int64_t)>* body_ = nullptr;  // null in the last round: leave
  int64_t parts_ = 0;
  std::atomic<uint32_t> round_{0};
  std::atomic<int64_t> running_{0};
  std::vector<std::thread> threads_;
};

}  // namespace fulcrum
