// Independent pieces of work on the threads that LibTorch computes with (at::set_num_threads of the calling
// thread; LibTorch's own header runs everything on one thread unless compiled with OpenMP). Called by
// attention.cpp, embedding.cpp, layer_rows.cpp, logit_rows.cpp, divergence_rows.cpp and products.cpp.
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>

namespace fulcrum {

// work(i) for every i < n, each once, by whichever thread is free: what it writes must not depend on the
// order. An exception of one is thrown here, after all have ended.
void parallel_for(int64_t n, const std::function<void(int64_t)>& work);

// The same over rows [0, n) in blocks of a length that does not depend on the number of threads:
// work(block, begin, end).
inline constexpr int64_t kRowBlock = 64;
inline int64_t row_blocks(int64_t n) { return (n + kRowBlock - 1) / kRowBlock; }
void for_row_blocks(int64_t n, const std::function<void(int64_t, int64_t, int64_t)>& work);

}  // namespace fulcrum
