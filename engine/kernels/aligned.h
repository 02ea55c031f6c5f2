// Zeroed numbers on a 64-byte border: weights, workspaces and pages of the KV cache. A value that can be
// moved; as thread-safe as a plain array.
#pragma once

#include <sys/mman.h>

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

// Memory of at least this size is asked for in huge pages: weights are read once a step from end to end, and
// with pages of 4 KiB the look-ups of addresses would cost a part of the bandwidth.
inline constexpr size_t kHugePage = size_t{2} << 20;

template <class T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(int64_t size) : size_(size) {
    if (size <= 0) return;
    const size_t used = static_cast<size_t>(round_up(size * int64_t{sizeof(T)}, 64));
    const size_t border = used >= kHugePage ? kHugePage : 64;
    const size_t bytes = (used + border - 1) / border * border;
    data_.reset(static_cast<T*>(std::aligned_alloc(border, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    // Only advice: where it is not taken, nothing but speed changes.
    if (border == kHugePage) static_cast<void>(::madvise(data_.get(), bytes, MADV_HUGEPAGE));
    std::fill_n(data_.get(), used / sizeof(T), T{});
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> data_;
  int64_t size_ = 0;
};

using AlignedFloats = Aligned<float>;

}  // namespace fulcrum::kernels
