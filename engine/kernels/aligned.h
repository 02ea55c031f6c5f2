// Zeroed floats on a 64-byte border: weights, workspaces and pages of the KV cache. A value that can be
// moved; as thread-safe as a plain array.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace fulcrum::kernels {

// Rows are padded to a multiple of this many floats, so that no kernel needs a tail: one AVX-512 vector.
inline constexpr int64_t kRowAlign = 16;

inline constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(int64_t size) : size_(size) {
    if (size <= 0) return;
    const size_t bytes = static_cast<size_t>(round_up(size, kRowAlign)) * sizeof(float);
    data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    std::fill_n(data_.get(), bytes / sizeof(float), 0.0f);
  }

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
  int64_t size_ = 0;
};

}  // namespace fulcrum::kernels
