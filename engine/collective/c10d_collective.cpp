#include "engine/collective/c10d_collective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>

namespace fulcrum {
namespace {

// Small tensors travel together, in the order they are given in, so that the sums have one order.
constexpr int64_t kBucketBytes = 32 << 20;

using Bucket = std::vector<at::Tensor>;

std::vector<Bucket> buckets_of(std::span<const at::Tensor> tensors) {
  std::vector<Bucket> out;
  int64_t bytes = 0;
  for (const at::Tensor& t : tensors) {
    const auto more = static_cast<int64_t>(t.nbytes());
    const bool fits =
        !out.empty() && bytes + more <= kBucketBytes && out.back().back().scalar_type() == t.scalar_type();
    if (!fits) {
      out.emplace_back();
      bytes = 0;
    }
    out.back().push_back(t);
    bytes += more;
  }
  return out;
}

// Whether the sum is taken in the one tensor itself.
bool in_place(const Bucket& bucket) {
  return bucket.size() == 1 && bucket[0].is_cpu() && bucket[0].is_contiguous();
}

// On the CPU, where the group's connections are.
at::Tensor flat(const Bucket& bucket) {
  if (in_place(bucket)) return bucket[0].view({-1});
  std::vector<at::Tensor> parts;
  for (const at::Tensor& t : bucket) parts.push_back(t.reshape({-1}));
  return at::cat(parts).to(at::kCPU);
}

void copy_back(const at::Tensor& sums, const Bucket& bucket) {
  if (in_place(bucket)) return;
  int64_t begin = 0;
  for (const at::Tensor& t : bucket) {
    t.copy_(sums.narrow(0, begin, t.numel()).view(t.sizes()));
    begin += t.numel();
  }
}

at::Tensor bytes_tensor(std::span<std::byte> bytes) {
  return at::from_blob(bytes.data(), {std::ssize(bytes)}, at::kByte);
}

}  // namespace

// The seam to c10d: what it throws becomes the group's Status, once and for all.
Status C10dCollective::call(std::string_view purpose, const Start& start) {
  if (!status_.ok()) return status_;
  presence_.arrived(++calls_, purpose);
  const auto begin = std::chrono::steady_clock::now();
  std::string error;
  try {
    start(*backend_)->wait();
    return ok_status();
  } catch (const c10::Error& e) {
    error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    error = e.what();
  }
  const auto waited =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  backend_.reset();  // closes the connections, so that the others notice at once
  status_ = presence_.explain(calls_, purpose, waited, error);
  return status_;
}

void C10dCollective::leave(Status why) {
  if (status_.ok()) status_ = std::move(why);
  backend_.reset();
}

Status C10dCollective::sum(std::span<const at::Tensor> tensors, std::string_view purpose) {
  const at::NoGradGuard no_gradients;
  for (const Bucket& bucket : buckets_of(tensors)) {
    std::vector<at::Tensor> sums = {flat(bucket)};
    TRY_DO(call(purpose, [&](c10d::Backend& backend) { return backend.allreduce(sums); }));
    copy_back(sums[0], bucket);
  }
  return ok_status();
}

Status C10dCollective::broadcast(std::span<std::byte> bytes, std::string_view purpose) {
  std::vector<at::Tensor> tensors = {bytes_tensor(bytes)};
  return call(purpose, [&](c10d::Backend& backend) { return backend.broadcast(tensors); });
}

Status C10dCollective::gather_equal(const at::Tensor& mine, std::vector<at::Tensor>& all,
                                    std::string_view purpose) {
  std::vector<at::Tensor> inputs = {mine};
  std::vector<std::vector<at::Tensor>> outputs(1);
  for (int64_t r = 0; r < size(); ++r) outputs[0].push_back(at::empty_like(mine));
  TRY_DO(call(purpose, [&](c10d::Backend& backend) { return backend.allgather(outputs, inputs); }));
  all = std::move(outputs[0]);
  return ok_status();
}

Result<std::vector<std::string>> C10dCollective::gather(std::string_view bytes, std::string_view purpose) {
  std::vector<at::Tensor> lengths, texts;
  TRY_DO(gather_equal(at::scalar_tensor(static_cast<int64_t>(bytes.size()), at::kLong).view({1}), lengths,
                      purpose));
  int64_t longest = 0;
  for (const at::Tensor& length : lengths) longest = std::max(longest, length.item<int64_t>());
  std::vector<std::string> out(lengths.size());
  if (longest == 0) return out;
  const at::Tensor mine = at::zeros({longest}, at::kByte);
  if (!bytes.empty()) std::memcpy(mine.mutable_data_ptr(), bytes.data(), bytes.size());
  TRY_DO(gather_equal(mine, texts, purpose));
  for (size_t r = 0; r < out.size(); ++r) {
    const auto* text = static_cast<const char*>(texts[r].const_data_ptr());
    out[r].assign(text, static_cast<size_t>(lengths[r].item<int64_t>()));
  }
  return out;
}

}  // namespace fulcrum
