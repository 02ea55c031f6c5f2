#include "engine/collective/c10d_collective.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kErrorBytes = 500;

at::Tensor bytes_tensor(std::span<std::byte> bytes) {
  return at::from_blob(bytes.data(), {std::ssize(bytes)}, at::kByte);
}

}  // namespace

Status C10dCollective::my_fault(std::string_view purpose, const std::string& error) const {
  return unavailable("rank " + std::to_string(rank()) + " of " + std::to_string(size()) + " cannot sum " +
                     in_quotes(purpose) + " where they lie: " + printable(error, kErrorBytes));
}

// What fails becomes the group's Status, once and for all.
Status C10dCollective::attempt(std::string_view purpose, const Work& work) {
  if (!status_.ok()) return status_;
  presence_.arrived(++calls_, purpose);
  const auto begin = std::chrono::steady_clock::now();
  const GroupOutcome outcome = work();
  if (outcome.end == GroupOutcome::End::kDone) return ok_status();
  const auto waited =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  devices_.abort();
  backend_.reset();  // closes the connections, so that the others notice at once
  status_ = outcome.end == GroupOutcome::End::kMine
                ? my_fault(purpose, outcome.error)
                : presence_.explain(calls_, purpose, waited, outcome.error);
  const std::string words = printable(outcome.error, kErrorBytes);
  if (outcome.quoted && status_.message().find(words) == std::string::npos)
    status_ = Status(status_.code(), status_.message() + " (" + words + ")");
  return status_;
}

// The seam to c10d, which throws.
Status C10dCollective::call(std::string_view purpose, const Start& start) {
  return attempt(purpose, [&]() -> GroupOutcome {
    try {
      start(*backend_)->wait();
      return {};
    } catch (const c10::Error& e) {
      return {GroupOutcome::End::kPeer, e.what_without_backtrace()};
    } catch (const std::exception& e) {
      return {GroupOutcome::End::kPeer, e.what()};
    }
  });
}

void C10dCollective::leave(Status why) {
  if (status_.ok()) status_ = std::move(why);
  devices_.abort();
  backend_.reset();
}

Status C10dCollective::sum(std::span<const at::Tensor> tensors, std::string_view purpose) {
  const at::NoGradGuard no_gradients;
  for (const Bucket& bucket : buckets_of(tensors)) {
    std::vector<at::Tensor> sums = {flat(bucket, at::kCPU)};
    TRY_DO(call(purpose, [&](c10d::Backend& backend) { return backend.allreduce(sums); }));
    copy_back(sums[0], bucket);
  }
  return ok_status();
}

Status C10dCollective::sum_on_devices(std::span<const at::Tensor> tensors, std::string_view purpose) {
  const at::NoGradGuard no_gradients;
  // All ranks must take the same way, and a rank that has ended is seen here at once.
  const bool ready = devices_.ready(tensors);
  const std::array ranks = {at::full({1}, ready ? 1 : 0, at::kLong)};
  TRY_DO(sum(ranks, purpose));
  const auto ready_ranks = ranks[0].item<int64_t>();
  if (ready_ranks < size()) {
    if (ready) devices_.warn_of_others(ready_ranks);
    return sum(tensors, purpose);
  }
  if (!devices_.joined()) TRY_DO(join_devices(tensors[0].device(), purpose));
  for (const Bucket& bucket : buckets_of(tensors)) {
    if (DeviceSums::takes(bucket)) {
      TRY_DO(attempt(purpose, [&] { return devices_.sum(bucket); }));
    } else {
      TRY_DO(sum(bucket, purpose));
    }
  }
  return ok_status();
}

Status C10dCollective::join_devices(at::Device device, std::string_view purpose) {
  DeviceInvitation invitation;
  if (rank() == 0) invitation = devices_.invite();
  TRY_DO(broadcast(std::as_writable_bytes(std::span(&invitation, 1)), purpose));
  return attempt(purpose, [&] { return devices_.join(invitation, device); });
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
