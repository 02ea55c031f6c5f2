#include "policy/nn/parallel.h"

#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "policy/nn/attention.h"
#include "policy/nn/layer_rows.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// Runs `body` with a number of LibTorch threads, on a thread of its own: OpenMP's setting belongs to the
// thread, MKL's to the process.
template <class Body>
void with_threads(int threads, Body body) {
  std::thread([&] {
    at::set_num_threads(threads);
    body();
    at::set_num_threads(1);
  }).join();
}

TEST(ParallelFor, DoesEachPieceOnce) {
  for (const int threads : {1, 3}) {
    std::vector<std::atomic<int>> done(1000);
    with_threads(threads, [&] { parallel_for(1000, [&](int64_t i) { done[static_cast<size_t>(i)]++; }); });
    for (const auto& times : done) EXPECT_EQ(times, 1);
  }
}

TEST(ParallelFor, UsesTheThreadsItIsGiven) {
  std::atomic<int> waiting = 0;
  with_threads(2, [&] {
    parallel_for(2, [&](int64_t) {
      ++waiting;
      while (waiting < 2) std::this_thread::yield();  // would not end on one thread
    });
  });
  EXPECT_EQ(waiting, 2);
}

TEST(ParallelFor, ThrowsWhatAPieceThrows) {
  for (const int threads : {1, 2}) {
    with_threads(threads, [] {
      EXPECT_THROW(parallel_for(10,
                                [](int64_t i) {
                                  if (i == 7) throw std::runtime_error("seven");
                                }),
                   std::runtime_error);
    });
  }
}

TEST(RowBlocks, CoverEveryRowWithBlocksThatDoNotDependOnThreads) {
  std::vector<std::pair<int64_t, int64_t>> blocks(static_cast<size_t>(row_blocks(150)));
  with_threads(2, [&] {
    for_row_blocks(150, [&](int64_t block, int64_t begin, int64_t end) {
      blocks[static_cast<size_t>(block)] = {begin, end};
    });
  });
  EXPECT_EQ(blocks, (std::vector<std::pair<int64_t, int64_t>>{{0, 64}, {64, 128}, {128, 150}}));
}

TEST(LayerKernels, GiveTheSameBitsWithAnyNumberOfThreads) {
  const ModelSpec spec = tiny_spec();
  const TrainBatch batch = random_batch(spec, {{30, {50, 1, 90}}, {12, {30}}});
  const auto attention = attention_context(spec, batch, at::kCPU, at::kFloat);
  const int64_t tokens = batch.num_tokens(), dim = spec.head_dim;
  const at::Tensor qkv = at::randn({tokens, (spec.num_attention_heads + 2 * spec.num_key_value_heads) * dim});
  const at::Tensor d_out = at::randn({tokens, spec.num_attention_heads * dim});
  const at::Tensor x = at::randn({tokens, 24}), weight = at::randn({24});
  std::vector<std::vector<at::Tensor>> results;
  for (const int threads : {1, 2}) {
    with_threads(threads, [&] {
      const AttentionContext::Output out = attention->forward(qkv);
      at::Tensor dx = at::zeros_like(x);
      const RmsNormGradient norm = rms_norm_rows_backward(x, weight, 1e-5, x, dx, at::kFloat);
      results.push_back({out.out_TC, out.lse_TH, attention->backward(qkv, out, d_out), dx, norm.d_weight_D});
    });
  }
  for (size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(results[0][i].equal(results[1][i])) << i;
}

}  // namespace
}  // namespace fulcrum
