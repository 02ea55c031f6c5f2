// Which pages of a device's keys and values are free, and who holds the others: sequences share the full
// pages of a common prompt. Called by whoever puts sequences together (rollout/device_generator.h). A pool
// and its lists belong to one thread.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace fulcrum {

class DevicePages {
 public:
  explicit DevicePages(int64_t count) : holders_(static_cast<size_t>(count)), free_(holders_.size()) {
    std::iota(free_.rbegin(), free_.rend(), 0);  // the first page is taken first
  }

  int64_t count() const { return static_cast<int64_t>(holders_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

  // A free one; there must be one.
  int32_t take() {
    const int32_t page = free_.back();
    free_.pop_back();
    holders_[static_cast<size_t>(page)] = 1;
    return page;
  }
  void hold(int32_t page) { ++holders_[static_cast<size_t>(page)]; }
  void drop(int32_t page) {
    if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  }

 private:
  std::vector<int32_t> holders_;
  std::vector<int32_t> free_;
};

// Pages in the order of their positions, held while the list lives. The pool outlives it.
class PageList {
 public:
  PageList() = default;
  explicit PageList(DevicePages& pool) : pool_(&pool) {}
  PageList(PageList&& other) noexcept : pool_(other.pool_), pages_(std::exchange(other.pages_, {})) {}
  PageList& operator=(PageList&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(pages_, other.pages_);
    return *this;
  }
  ~PageList() {
    for (const int32_t page : pages_) pool_->drop(page);
  }

  void take(int64_t count) {
    for (; count > 0; --count) pages_.push_back(pool_->take());
  }
  void share(std::span<const int32_t> pages) {
    for (const int32_t page : pages) {
      pool_->hold(page);
      pages_.push_back(page);
    }
  }
  std::span<const int32_t> pages() const { return pages_; }

 private:
  DevicePages* pool_ = nullptr;
  std::vector<int32_t> pages_;
};

}  // namespace fulcrum
