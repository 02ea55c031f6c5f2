// Sums of tensors on a device, by a device group: the far device, and the ranks as threads.
#include "engine/collective/device_sums.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "engine/core/log.h"
#include "tests/support/far_device.h"
#include "tests/support/far_group.h"
#include "tests/support/ranks.h"
#include "tests/unit/engine/collective/outcomes.h"

namespace fulcrum::testing {
namespace {

using kernels::GroupState;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Group = std::shared_ptr<Collective>;
using Tensors = std::vector<at::Tensor>;

// Another size and type after the other, as no list of gradients has them; the rank's own numbers.
Tensors numbers_of(int64_t rank) {
  const auto some = [&](at::IntArrayRef sizes, at::ScalarType type) {
    const at::Tensor x =
        at::arange(c10::multiply_integers(sizes), at::kDouble).add(static_cast<double>(rank));
    return x.sin().mul(1e-3 + static_cast<double>(rank)).mul(100).to(type).view(sizes);
  };
  return {some({3, 4}, at::kFloat),
          some({1}, at::kFloat),
          some({0}, at::kFloat),
          some({2, 5}, at::kDouble),
          some({7}, at::kLong),
          some({2, 0, 3}, at::kLong),
          some({5, 2}, at::kFloat).t(),
          some({}, at::kFloat),
          some({8, 6}, at::kFloat).slice(1, 1, 6, 2),
          some({40}, at::kHalf),
          some({30, 20}, at::kDouble).t()};
}

Tensors to_far(const Tensors& tensors) {
  Tensors out;
  for (const at::Tensor& t : tensors) {
    out.push_back(at::empty_strided(t.sizes(), t.strides(), t.options().device(far_device())));
    out.back().copy_(t);
  }
  return out;
}

void expect_equal(const Tensors& far, const Tensors& host) {
  for (size_t i = 0; i < host.size(); ++i)
    EXPECT_TRUE(at::equal(far[i].to(at::kCPU), host[i])) << "tensor " << i;
}

// One tensor on the device.
Status sum_one(const Group& group, const std::string& purpose) {
  const std::array one = {at::ones({100}, at::TensorOptions(far_device()))};
  return group->sum_on_devices(one, purpose);
}

TEST(DeviceSums, AreThoseOfTheHostsToTheBitAndTheIdIsMadeOnce) {
  const FarGroup far;
  on_ranks(2, [](const Group& group) {
    for (int step = 0; step < 2; ++step) {
      Tensors host = numbers_of(group->rank() + 10 * step);
      host.push_back(at::rand({9000000}));  // more than a bucket
      const Tensors device = to_far(host);
      ASSERT_TRUE(group->sum(host, "host").ok());
      const Status status = group->sum_on_devices(device, "device");
      ASSERT_TRUE(status.ok()) << status.message();
      expect_equal(device, host);
      for (const at::Tensor& t : device) EXPECT_FALSE(t.is_cpu());
    }
  });
  const FarGroupCounts counts = far_group_counts();
  EXPECT_EQ(counts.ids, 1);
  EXPECT_EQ(counts.joins, 2);
  // Of the list's buckets the two with whole numbers and halves are the hosts'.
  EXPECT_EQ(counts.sums, 2 * 2 * 5);
  EXPECT_THAT(counts.left, ElementsAre(0, 1));
  EXPECT_THAT(counts.aborted, ElementsAre());
}

TEST(DeviceSums, HaveTheSameBitsOnThreeRanks) {
  const FarGroup far;
  std::mutex mutex;
  Tensors sums;
  on_ranks(3, [&](const Group& group) {
    const Tensors mine = to_far({numbers_of(group->rank())[0]});
    ASSERT_TRUE(group->sum_on_devices(mine, "test").ok());
    const std::lock_guard lock(mutex);
    sums.push_back(mine[0].to(at::kCPU));
  });
  ASSERT_EQ(sums.size(), 3u);
  EXPECT_TRUE(at::equal(sums[0], sums[1]));
  EXPECT_TRUE(at::equal(sums[0], sums[2]));
  const at::Tensor want = numbers_of(0)[0] + numbers_of(1)[0] + numbers_of(2)[0];
  EXPECT_TRUE(at::allclose(sums[0], want));
}

// Two sums over the hosts; the warnings of each rank.
std::array<std::vector<std::string>, 2> sum_over_the_hosts(const std::function<bool(int64_t rank)>& is_far) {
  std::array<std::vector<std::string>, 2> warnings;
  on_ranks(2, [&](const Group& group) {
    auto& mine = warnings[static_cast<size_t>(group->rank())];
    const LogTee tee([&](LogLevel level, std::string_view text) {
      if (level == LogLevel::kWarn) mine.emplace_back(text);
    });
    for (int step = 0; step < 2; ++step) {
      Tensors host = numbers_of(group->rank());
      const Tensors tensors = is_far(group->rank()) ? to_far(host) : numbers_of(group->rank());
      ASSERT_TRUE(group->sum(host, "host").ok());
      const Status status = group->sum_on_devices(tensors, "device");
      ASSERT_TRUE(status.ok()) << status.message();
      expect_equal(tensors, host);
    }
  });
  EXPECT_EQ(far_group_counts().joins, 0);
  return warnings;
}

TEST(DeviceSums, GoOverTheHostsWhereThereIsNoDeviceGroup) {
  give_far_group_orders({});
  const auto warnings = sum_over_the_hosts([](int64_t) { return true; });
  EXPECT_THAT(warnings[0], ElementsAre());
  EXPECT_THAT(warnings[1], ElementsAre());
}

TEST(DeviceSums, GoOverTheHostsWithOneWarningWhereTheLibraryIsMissing) {
  const FarGroup far({.missing = "NCCL cannot be loaded: no such file"});
  const auto warnings = sum_over_the_hosts([](int64_t) { return true; });
  for (const auto& of_rank : warnings) EXPECT_THAT(of_rank, ElementsAre(HasSubstr("no such file")));
}

TEST(DeviceSums, GoOverTheHostsWhereOneRankHasNoDevice) {
  const FarGroup far;
  const auto warnings = sum_over_the_hosts([](int64_t rank) { return rank == 0; });
  EXPECT_THAT(warnings[0], ElementsAre(HasSubstr("which 1 of 2 ranks can")));
  EXPECT_THAT(warnings[1], ElementsAre());
}

TEST(DeviceSums, GoOverTheHostsWhereNothingIsOnADevice) {
  const FarGroup far;
  const auto warnings = sum_over_the_hosts([](int64_t) { return false; });
  EXPECT_THAT(warnings[0], ElementsAre());
  EXPECT_THAT(warnings[1], ElementsAre());
}

// Rank 1 hangs at `where` until the others have given up.
void expect_that_a_rank_that_hangs_is_named(FarGroupCall where) {
  std::atomic<int> failed = 0;
  const FarGroup far({.fault = [&](FarGroupCall call, int64_t rank) -> FarGroupFault {
    if (call != where || rank != 1) return {};
    while (failed < 2) std::this_thread::yield();
    return {GroupState::kFailed, "comes too late"};
  }});
  Outcomes outcomes;
  on_ranks(
      3,
      [&](const Group& group) {
        const auto begin = std::chrono::steady_clock::now();
        const Status status = sum_one(group, "the gradients");
        const auto waited = std::chrono::steady_clock::now() - begin;
        outcomes.note(group, status);
        if (group->rank() == 1) return;
        EXPECT_GE(waited, seconds(2));
        EXPECT_EQ(group->gather("", "another").status().message(), status.message());
        ++failed;
      },
      seconds(2));
  for (const size_t rank : {0, 2}) {
    expect_named(outcomes.of(rank), Code::kDeadlineExceeded,
                 "rank 1 of 3 did not come to 'the gradients' within 2 s");
  }
  // That of rank 1, too, where it has one.
  const bool joining = where == FarGroupCall::kJoin;
  EXPECT_EQ(far_group_counts().aborted,
            joining ? std::vector<int64_t>({0, 2}) : std::vector<int64_t>({0, 1, 2}));
  EXPECT_THAT(far_group_counts().left, ElementsAre());
}

TEST(DeviceSums, ARankThatHangsInASumIsNamedAtTheDeadlineAndTheSumsAreAborted) {
  expect_that_a_rank_that_hangs_is_named(FarGroupCall::kSum);
}
TEST(DeviceSums, ARankThatHangsWhileTheyJoinIsNamedAtTheDeadline) {
  expect_that_a_rank_that_hangs_is_named(FarGroupCall::kJoin);
}

TEST(DeviceSums, ASumThatHangsOnAllRanksEndsAtTheDeadline) {
  const FarGroup far({.fault = [&](FarGroupCall call, int64_t) -> FarGroupFault {
    return {call == FarGroupCall::kSum ? GroupState::kRunning : GroupState::kDone, ""};
  }});
  Outcomes outcomes;
  on_ranks(
      2, [&](const Group& group) { outcomes.note(group, sum_one(group, "the gradients")); }, seconds(2));
  for (const size_t rank : {0, 1}) {
    expect_named(outcomes.of(rank), Code::kUnavailable,
                 "the ranks' connection broke at 'the gradients': no answer by the deadline");
  }
  EXPECT_THAT(far_group_counts().aborted, ElementsAre(0, 1));
  // Asked about every millisecond, not all the time.
  EXPECT_LT(far_group_counts().polls, 2 * 2100);
}

TEST(DeviceSums, ARankThatEndsBetweenTwoSumsIsNamedBeforeTheDeadline) {
  const FarGroup far;
  Outcomes outcomes;
  const auto begin = std::chrono::steady_clock::now();
  on_ranks(
      2,
      [&](const Group& group) {
        ASSERT_TRUE(sum_one(group, "the first gradients").ok());
        if (group->rank() == 1) return;
        outcomes.note(group, sum_one(group, "the gradients"));
      },
      seconds(60));
  expect_named(outcomes.of(0), Code::kUnavailable, "rank 1 of 2 ended, seen at 'the gradients'");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(40));
  EXPECT_THAT(far_group_counts().aborted, ElementsAre(0));
  EXPECT_THAT(far_group_counts().left, ElementsAre(1));
}

TEST(DeviceSums, ARankWhoseOwnSumFailsSaysTheLibrarysWordsAndTheOtherNamesIt) {
  const FarGroup far({.fault = [&](FarGroupCall call, int64_t rank) -> FarGroupFault {
    if (call != FarGroupCall::kSum) return {};
    if (rank == 0) return {GroupState::kPeerFailed, "NCCL: remote process exited"};
    return {GroupState::kFailed, "NCCL: unhandled cuda error"};
  }});
  Outcomes outcomes;
  on_ranks(
      2, [&](const Group& group) { outcomes.note(group, sum_one(group, "the gradients")); }, seconds(60));
  expect_named(outcomes.of(1), Code::kUnavailable,
               "rank 1 of 2 cannot sum 'the gradients' where they lie: NCCL: unhandled cuda error");
  expect_named(outcomes.of(0), Code::kUnavailable, "rank 1 of 2 ended, seen at 'the gradients'");
  expect_named(outcomes.of(0), Code::kUnavailable, "NCCL: remote process exited");
  EXPECT_THAT(far_group_counts().aborted, ElementsAre(0, 1));
}

TEST(DeviceSums, WithoutAnIdEveryRankSaysWhy) {
  const FarGroup far({.fault = [](FarGroupCall call, int64_t) -> FarGroupFault {
    if (call != FarGroupCall::kMakeId) return {};
    return {GroupState::kFailed, "NCCL: no socket interface found"};
  }});
  Outcomes outcomes;
  on_ranks(2, [&](const Group& group) { outcomes.note(group, sum_one(group, "the gradients")); });
  for (const size_t rank : {0, 1})
    expect_named(outcomes.of(rank), Code::kUnavailable, "NCCL: no socket interface found");
  EXPECT_EQ(far_group_counts().joins, 0);
}

}  // namespace
}  // namespace fulcrum::testing
