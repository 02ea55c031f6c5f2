// What this machine can do at most: what a goal is held against.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>

#include "bench/ours/op.h"
#include "policy/nn/parallel.h"
#include "policy/nn/products.h"

namespace fulcrum::bench {
namespace {

// The least seconds that run() took in `times` tries.
template <class Run>
double fastest(int times, Run run) {
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

// Operations a second of a product of square matrices that fit the caches well: LibTorch's or ours, whichever
// is faster.
double matrix_peak(at::ScalarType dtype) {
  constexpr int64_t kSize = 1536;
  const at::Tensor a = at::ones({kSize, kSize}, dtype), b = at::ones({kSize, kSize}, dtype);
  at::Tensor out = at::empty({kSize, kSize}, dtype);
  const double seconds = std::min(fastest(12, [&] { at::mm_out(out, a, b); }),
                                  fastest(12, [&] { product_into(out, a, b, false); }));
  return 2.0 * kSize * kSize * kSize / seconds;
}

// Bytes a second that all threads read from memory far larger than the caches.
double read_peak() {
  constexpr int64_t kFloats = int64_t{1} << 27;
  const at::Tensor x = at::ones({kFloats}, at::kFloat);
  const float* data = x.const_data_ptr<float>();
  const int64_t threads = at::get_num_threads(), share = kFloats / threads;
  std::vector<double> sums(static_cast<size_t>(threads));
  const double seconds = fastest(6, [&] {
    parallel_for(threads, [&](int64_t t) {
      float chains[64] = {};
      for (int64_t i = t * share; i + 64 <= (t + 1) * share; i += 64) {
        for (int j = 0; j < 64; ++j) chains[j] += data[i + j];
      }
      for (const float chain : chains) sums[static_cast<size_t>(t)] += chain;  // so that it is not left out
    });
  });
  return 4.0 * static_cast<double>(kFloats) / seconds;
}

}  // namespace

Status ceiling(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  return serve([]() -> Result<Json> {
    return Json{{"fp32_flops", matrix_peak(at::kFloat)},
                {"bf16_flops", matrix_peak(at::kBFloat16)},
                {"read_bytes", read_peak()}};
  });
}

}  // namespace fulcrum::bench
