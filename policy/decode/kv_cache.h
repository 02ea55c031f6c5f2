// Keys and values of the tokens so far, in pages of kernels::kPagePositions positions for all layers.
// Sequences share the full pages of a common beginning: a group's prompt is stored once. Called by the
// decoder and the generator; a pool and its sequences belong to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/kernels/aligned.h"
#include "engine/kernels/attention/op.h"

namespace fulcrum {

// Pages of one size; those given back are used again. A page outlives its pool if a sequence still holds it.
class KvPool {
 public:
  using Page = std::shared_ptr<kernels::AlignedFloats>;

  explicit KvPool(int64_t page_floats) : page_floats_(page_floats) {}
  // Holds finite numbers: zeros, or what its last owner left.
  Page take();

 private:
  using FreePages = std::vector<std::unique_ptr<kernels::AlignedFloats>>;
  int64_t page_floats_;
  std::shared_ptr<FreePages> free_ = std::make_shared<FreePages>();
};

class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  KvSequence(KvSequence&&) = default;
  KvSequence& operator=(KvSequence&&) = default;

  // A sequence that goes on from here on its own: shares the full pages, copies the last if it is not full.
  KvSequence fork() const;

  // Makes room for one more position and returns it.
  int64_t append();

  int64_t length() const { return length_; }
  const float* const* pages() const { return addresses_.data(); }
  // The page of a position this sequence appended (not of its shared beginning).
  float* page_of(int64_t position) {
    return pages_[static_cast<size_t>(position / kernels::kPagePositions)]->data();
  }

 private:
  void add_page(KvPool::Page page);

  KvPool* pool_;
  int64_t length_ = 0;
  std::vector<KvPool::Page> pages_;
  std::vector<const float*> addresses_;
};

}  // namespace fulcrum
