#include "policy/decode/kv_cache.h"

#include <algorithm>
#include <utility>

namespace fulcrum {

KvPool::Page KvPool::take() {
  std::unique_ptr<kernels::AlignedFloats> page;
  if (free_->empty()) {
    page = std::make_unique<kernels::AlignedFloats>(page_floats_);
  } else {
    page = std::move(free_->back());
    free_->pop_back();
  }
  return {page.release(), [free = free_](kernels::AlignedFloats* p) { free->emplace_back(p); }};
}

KvSequence KvSequence::fork() const {
  KvSequence out(*pool_);
  out.length_ = length_;
  const size_t full = static_cast<size_t>(length_ / kernels::kPagePositions);
  for (size_t i = 0; i < full; ++i) out.add_page(pages_[i]);
  if (length_ % kernels::kPagePositions != 0) {
    KvPool::Page copy = pool_->take();
    std::copy_n(pages_[full]->data(), copy->size(), copy->data());
    out.add_page(std::move(copy));
  }
  return out;
}

int64_t KvSequence::append() {
  if (length_ % kernels::kPagePositions == 0) add_page(pool_->take());
  return length_++;
}

void KvSequence::add_page(KvPool::Page page) {
  addresses_.push_back(page->data());
  pages_.push_back(std::move(page));
}

}  // namespace fulcrum
