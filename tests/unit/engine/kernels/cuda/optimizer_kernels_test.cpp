// AdamW and the sum of squares against the CPU's references, and the table of all kernels.
#include <limits>
#include <numeric>

#include "engine/kernels/adamw/op.h"
#include "engine/kernels/sum_of_squares/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

using Floats = std::vector<float>;
constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 5, 255, 1024, 1027, 5001};

TEST(CudaAdamw, HasTheReferencesBits) {
  const AdamwStep step{0.9f, 0.99f, 1e-8f, 1.3e-3f, 0.9995f, 0.4f, 0.37f};
  for (const int64_t n : kSizes) {
    for (const int offset : kOffsets) {
      const Floats gradient = random_row(n, 1), w = random_row(n, 2), m = random_row(n, 3);
      Floats v = random_row(n, 4);
      for (float& x : v) x *= x;
      if (n > 3) v[2] = 0;
      const auto after = in_every_order([&] {
        Guarded<float> g(gradient, offset), weights(w, offset), first(m, offset), second(v, offset);
        EXPECT_EQ(cuda::adamw(step, g.data(), n, weights.data(), first.data(), second.data(), nullptr), 0);
        return std::vector<Floats>{weights.values(), first.values(), second.values()};
      });
      Floats weights = w, first = m, second = v;
      reference::adamw(step, gradient.data(), n, weights.data(), first.data(), second.data());
      expect_bits(after[0], weights, "weights");
      expect_bits(after[1], first, "first moments");
      expect_bits(after[2], second, "second moments");
    }
  }
}

TEST(CudaAddSquares, AddsToEverySumAlwaysTheSameShare) {
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{3}, int64_t{2049}, int64_t{5'250'001}}) {
    std::vector<double> aligned;
    for (const int offset : kOffsets) {
      if (n > 1'000'000 && offset != 0) continue;  // takes its time
      Guarded<float> x(random_row(n, 5), offset);
      const auto run = [&] {
        Guarded<double> sums(kSquareSums, 0, 1.5);
        EXPECT_EQ(cuda::add_squares(x.data(), n, sums.data(), nullptr), 0);
        return std::vector<std::vector<double>>{sums.values()};
      };
      const auto sums = n > 1'000'000 ? run() : in_every_order(run);
      if (!aligned.empty()) expect_bits(aligned, sums[0], "at another address");
      aligned = sums[0];
      const double total = std::accumulate(sums[0].begin(), sums[0].end(), 0.0) - 1.5 * kSquareSums;
      double want = 0;
      for (const float v : x.values()) want += double{v} * v;
      EXPECT_NEAR(total, want, 1e-7 * want + 1e-12) << n;  // four squares in fp32
    }
  }
}

TEST(CudaAddSquares, GoesOnWhereItStopped) {
  const Floats x = random_row(6000, 6);
  std::vector<double> at_once(kSquareSums), twice(kSquareSums);
  ASSERT_EQ(cuda::add_squares(x.data(), 6000, at_once.data(), nullptr), 0);
  ASSERT_EQ(cuda::add_squares(x.data(), 6000, twice.data(), nullptr), 0);
  ASSERT_EQ(cuda::add_squares(x.data(), 6000, twice.data(), nullptr), 0);
  for (size_t i = 0; i < at_once.size(); ++i) EXPECT_EQ(twice[i], 2 * at_once[i]);
}

TEST(CudaAddSquares, AnInfinityOrNanReachesTheSum) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), 1e30f}) {
    Floats x = random_row(3000, 7);
    x[2500] = bad;
    std::vector<double> sums(kSquareSums);
    ASSERT_EQ(cuda::add_squares(x.data(), 3000, sums.data(), nullptr), 0);
    EXPECT_FALSE(std::isfinite(std::accumulate(sums.begin(), sums.end(), 0.0)));
  }
}

TEST(CudaTable, HasEveryKernel) {
  const DeviceKernels& table = cuda_kernels();
  std::vector<void*> members(sizeof(DeviceKernels) / sizeof(void*));
  std::memcpy(members.data(), &table, sizeof(DeviceKernels));
  for (const void* member : members) EXPECT_NE(member, nullptr);
  EXPECT_NE(std::string(table.error_text(cuda_on_host::kFault)), "");
}

}  // namespace
}  // namespace fulcrum::kernels
