#include "engine/collective/buckets.h"

#include <ATen/ops/cat.h>

namespace fulcrum {
namespace {

constexpr int64_t kBucketBytes = 32 << 20;

bool in_place(const Bucket& bucket, at::Device where) {
  return bucket.size() == 1 && bucket[0].device() == where && bucket[0].is_contiguous();
}

bool alike(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

}  // namespace

std::vector<Bucket> buckets_of(std::span<const at::Tensor> tensors) {
  std::vector<Bucket> out;
  int64_t bytes = 0;
  for (const at::Tensor& t : tensors) {
    if (t.numel() == 0) continue;
    const auto more = static_cast<int64_t>(t.nbytes());
    if (out.empty() || bytes + more > kBucketBytes || !alike(out.back().back(), t)) {
      out.emplace_back();
      bytes = 0;
    }
    out.back().push_back(t);
    bytes += more;
  }
  return out;
}

at::Tensor flat(const Bucket& bucket, at::Device where) {
  if (in_place(bucket, where)) return bucket[0].view({-1});
  std::vector<at::Tensor> parts;
  for (const at::Tensor& t : bucket) parts.push_back(t.reshape({-1}));
  return at::cat(parts).to(where);
}

void copy_back(const at::Tensor& flat_n, const Bucket& bucket) {
  if (in_place(bucket, flat_n.device())) return;
  int64_t begin = 0;
  for (const at::Tensor& t : bucket) {
    t.copy_(flat_n.narrow(0, begin, t.numel()).view(t.sizes()));
    begin += t.numel();
  }
}

}  // namespace fulcrum
