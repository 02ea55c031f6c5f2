// Sums over the members of a device group, two GPUs, beside the host's.
#include <ATen/TensorOperators.h>

#include <future>
#include <thread>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/collective/device_sums.h"

namespace fulcrum::gpu_check {
namespace {

constexpr std::chrono::seconds kDeadline{60};
using Sums = std::vector<at::Tensor>;

// What a member brings: tensors of odd sizes in fp32, one in double, and small ones that travel as one.
std::vector<Bucket> buckets(const CheckOptions& options, uint64_t member) {
  const auto of = [&](int64_t n) { return numbers(n, 100 * member + static_cast<uint64_t>(n % 97), 3); };
  std::vector<Bucket> out = {
      {of(1)}, {of(3)}, {of(1027)}, {of(255), of(4), of(31)}, {of(515).to(at::kDouble)}};
  if (!options.small) out.insert(out.end(), {{of(5'250'001)}, {of(16'777'216)}});
  return out;
}

void require(const GroupOutcome& outcome, const char* what) {
  TORCH_CHECK(outcome.end == GroupOutcome::End::kDone, what, ": ", outcome.error);
}

// A member of two, on a thread of its own: the sums it has, bucket by bucket.
Sums member(const CheckOptions& options, int64_t rank, std::promise<DeviceInvitation>& invitation,
            std::shared_future<DeviceInvitation> invited) {
  const at::Device device = options.members[static_cast<size_t>(rank)];
  std::vector<Bucket> there = buckets(options, static_cast<uint64_t>(rank));
  for (Bucket& bucket : there)
    for (at::Tensor& tensor : bucket) tensor = tensor.to(device);
  DeviceSums sums(rank, std::ssize(options.members), kDeadline);
  const bool ready = sums.ready(there[0]);
  if (rank == 0) invitation.set_value(ready ? sums.invite() : DeviceInvitation{});
  TORCH_CHECK(ready, "the library that sums cannot be used here");
  TORCH_CHECK(invited.wait_for(kDeadline) == std::future_status::ready, "no invitation came");
  require(sums.join(invited.get(), device), "joining");
  Sums out;
  for (const Bucket& bucket : there) {
    require(sums.sum(bucket), "a sum");
    for (const at::Tensor& tensor : bucket) out.push_back(tensor.to(at::kCPU));
  }
  return out;
}

std::vector<Sums> of_all_members(const CheckOptions& options) {
  std::promise<DeviceInvitation> invitation;
  const std::shared_future<DeviceInvitation> invited = invitation.get_future().share();
  std::vector<std::future<Sums>> running;
  for (int64_t rank = 0; rank < std::ssize(options.members); ++rank) {
    running.push_back(
        std::async(std::launch::async, [&, rank] { return member(options, rank, invitation, invited); }));
  }
  std::vector<Sums> out;
  for (auto& each : running) each.wait();  // before one of them throws
  for (auto& each : running) out.push_back(each.get());
  return out;
}

}  // namespace

void check_device_sums(const CheckOptions& options, Checks& checks) {
  const std::string name = "sums over two GPUs that are not the host's";
  if (options.members.size() < 2)
    return checks.leave_out(name, "there are not two of " + options.device.str());
  // Two numbers have one sum, in whatever order.
  checks.check(name, 0, [&](Worst& worst) {
    Sums want;
    const auto a = buckets(options, 0), b = buckets(options, 1);
    for (size_t i = 0; i < a.size(); ++i)
      for (size_t j = 0; j < a[i].size(); ++j) want.push_back(a[i][j] + b[i][j]);
    const std::vector<Sums> got = of_all_members(options);
    for (size_t rank = 0; rank < got.size(); ++rank) {
      for (size_t i = 0; i < want.size(); ++i) {
        worst.add(apart(got[rank][i], want[i], 1),
                  std::to_string(want[i].numel()) + " numbers, rank " + std::to_string(rank));
      }
    }
  });
}

}  // namespace fulcrum::gpu_check
