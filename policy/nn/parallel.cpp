// Compiled with OpenMP and linked with LibTorch's own copy of its runtime, so that both use one set of
// threads.
#include "policy/nn/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace fulcrum {

void parallel_for(int64_t n, const std::function<void(int64_t)>& work) {
  const int64_t threads = std::min<int64_t>(n, at::in_parallel_region() ? 1 : at::get_num_threads());
  if (threads <= 1) {
    for (int64_t i = 0; i < n; ++i) work(i);
    return;
  }
  std::atomic<int64_t> next = 0;
  std::exception_ptr failed;
  std::mutex mutex;
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    try {
      for (int64_t i = next++; i < n; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      failed = std::current_exception();
    }
  }
  if (failed) std::rethrow_exception(failed);
}

void for_row_blocks(int64_t n, const std::function<void(int64_t, int64_t, int64_t)>& work) {
  parallel_for(row_blocks(n),
               [&](int64_t block) { work(block, block * kRowBlock, std::min(n, (block + 1) * kRowBlock)); });
}

}  // namespace fulcrum
