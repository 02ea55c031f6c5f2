// What the tests of the CUDA kernels share. They run the kernels' own source on the CPU
// (tests/support/cuda_on_host.h), in every order of threads, and look around what is written.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/core/half.h"
#include "engine/core/rng.h"
#include "engine/kernels/device/cuda_ops.h"
#include "tests/support/cuda_on_host.h"

namespace fulcrum::kernels {

// Where the rows of a test begin: at 16 bytes, and a float past that.
inline constexpr int kOffsets[] = {0, 1};

// An output between guards, which the destructor looks at.
template <class T>
class Guarded {
 public:
  Guarded(size_t n, int offset, T fill = T{})
      : n_(n), begin_(kGuard + offset), all_(n + 2 * kGuard + offset) {
    std::memset(all_.data(), kPattern, all_.size() * sizeof(T));
    for (size_t i = 0; i < n; ++i) data()[i] = fill;
  }
  Guarded(const std::vector<T>& values, int offset) : Guarded(values.size(), offset) {
    for (size_t i = 0; i < n_; ++i) data()[i] = values[i];
  }
  ~Guarded() {
    for (size_t i = 0; i < all_.size(); ++i) {
      if (i >= begin_ && i < begin_ + n_) continue;
      unsigned char bytes[sizeof(T)];
      std::memcpy(bytes, &all_[i], sizeof(T));
      for (const unsigned char byte : bytes)
        EXPECT_EQ(byte, kPattern) << "written outside, at " << i << " of " << n_;
    }
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return all_.data() + begin_; }
  std::vector<T> values() { return {data(), data() + n_}; }

 private:
  static constexpr size_t kGuard = 64;  // a multiple of 16 bytes for every T
  static constexpr unsigned char kPattern = 0xA5;
  size_t n_, begin_;
  std::vector<T> all_;
};

inline std::vector<float> random_row(int64_t n, uint64_t seed, float scale = 1.0f) {
  std::vector<float> out;
  Rng rng(seed, Purpose::kTest);
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(rng.normal()) * scale);
  return out;
}

template <class T>
void expect_bits(const std::vector<T>& a, const std::vector<T>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(T)), 0) << what << ", element " << i;
}

// The outputs of run() -> vector<vector<T>>, which must have the same bits in every order of threads.
template <class Run>
auto in_every_order(const Run& run) {
  const auto schedules = cuda_on_host::every_schedule();
  cuda_on_host::use_schedule(schedules.front());
  const auto first = run();
  for (size_t s = 1; s < schedules.size(); ++s) {
    cuda_on_host::use_schedule(schedules[s]);
    const auto again = run();
    for (size_t i = 0; i < first.size(); ++i) expect_bits(first[i], again[i], "in another order of threads");
  }
  cuda_on_host::use_schedule({});
  return first;
}

// |got - want| <= ulps units in the last place of a number of want's size or of `least`, whichever is larger.
inline void expect_close(float got, double want, double ulps, double least, const std::string& what) {
  if (std::isnan(want) || std::isinf(want)) {
    EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << what << ": " << got << ", not " << want;
    return;
  }
  const double allowed = ulps * 0x1p-23 * std::max(std::abs(want), least);
  EXPECT_LE(std::abs(got - want), allowed) << what << ": " << got << ", not " << want;
}
inline void expect_close(const std::vector<float>& got, const std::vector<float>& want, double ulps,
                         double least, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    expect_close(got[i], want[i], ulps, least, what + ", element " + std::to_string(i));
}

inline std::vector<uint16_t> in_bf16(const std::vector<float>& x) {
  std::vector<uint16_t> out;
  for (const float v : x) out.push_back(float_to_bf16(v));
  return out;
}

}  // namespace fulcrum::kernels
