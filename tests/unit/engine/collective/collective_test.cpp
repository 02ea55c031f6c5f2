#include "engine/collective/collective.h"

#include <ATen/ATen.h>

#include <array>
#include <atomic>
#include <mutex>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "tests/support/ranks.h"
#include "tests/unit/engine/collective/outcomes.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;
using Group = std::shared_ptr<Collective>;

TEST(Collective, SumsTensorsOfManyShapesOverTheRanks) {
  on_ranks(3, [](const Group& group) {
    const double mine = static_cast<double>(group->rank() + 1);  // 1 + 2 + 3 = 6
    const std::vector<at::Tensor> tensors = {at::full({3, 4}, mine), at::full({1}, 10 * mine),
                                             at::full({2, 2}, mine, at::kDouble), at::full({5, 2}, mine).t(),
                                             at::full({9000000}, mine)};
    const Status status = group->sum(tensors, "test");
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const double want = i == 1 ? 60 : 6;
      EXPECT_TRUE(tensors[i].eq(want).all().item<bool>()) << "tensor " << i;
    }
  });
}

TEST(Collective, TheSumsHaveTheSameBitsOnEveryRank) {
  std::mutex mutex;
  std::vector<at::Tensor> sums;
  on_ranks(3, [&](const Group& group) {
    auto numbers = at::arange(20000, at::kFloat).add(group->rank()).sin().mul(1e-3 + double(group->rank()));
    const std::array tensors = {numbers};
    ASSERT_TRUE(group->sum(tensors, "test").ok());
    const std::lock_guard lock(mutex);
    sums.push_back(numbers);
  });
  ASSERT_EQ(sums.size(), 3u);
  EXPECT_TRUE(at::equal(sums[0], sums[1]));
  EXPECT_TRUE(at::equal(sums[0], sums[2]));
}

TEST(Collective, BroadcastsTextsOfRank0AndGathersTextsOfAnyLength) {
  on_ranks(3, [](const Group& group) {
    const std::string long_text(300000, 'x');
    for (const std::string& sent : {std::string(), std::string("a\0b", 3), long_text}) {
      const auto text = broadcast_text(*group, group->rank() == 0 ? sent : "other", "test");
      ASSERT_TRUE(text.ok()) << text.status().message();
      EXPECT_EQ(*text, sent);
    }
    const auto all = group->gather(std::string(static_cast<size_t>(2 * group->rank()), 'y'), "test");
    ASSERT_TRUE(all.ok()) << all.status().message();
    EXPECT_EQ(*all, (std::vector<std::string>{"", "yy", "yyyy"}));
    const auto nothing = group->gather("", "test");
    ASSERT_TRUE(nothing.ok());
    EXPECT_EQ(*nothing, std::vector<std::string>(3));
  });
}

TEST(Collective, AloneItSumsNothingAndGathersItsOwn) {
  const auto group = local_collective();
  std::vector<float> mine = {1, 2};
  const std::array values = {&mine};
  EXPECT_TRUE(group->alone());
  EXPECT_TRUE(sum_values(*group, values, "test").ok());
  EXPECT_EQ(mine, (std::vector<float>{1, 2}));
  EXPECT_EQ(broadcast_text(*group, "text", "test").value(), "text");
  EXPECT_EQ(group->gather("text", "test").value(), std::vector<std::string>{"text"});
}

TEST(Collective, ARankThatDoesNotComeIsNamedByAllTheOthersAtTheDeadline) {
  Outcomes outcomes;
  std::atomic<int> failed = 0;
  on_ranks(
      3,
      [&](const Group& group) {
        ASSERT_TRUE(group->gather("", "the first call").ok());
        if (group->rank() == 1) {  // comes no more until the others have given up
          while (failed < 2) std::this_thread::yield();
          return;
        }
        outcomes.note(group, group->gather("", "the second call").status());
        ++failed;
      },
      seconds(2));
  for (const size_t rank : {0, 2}) {
    expect_named(outcomes.of(rank), Code::kDeadlineExceeded,
                 "rank 1 of 3 did not come to 'the second call' within 2 s");
    expect_named(outcomes.of(rank), Code::kDeadlineExceeded, "last seen at 'the first call'");
  }
}

TEST(Collective, ARankThatEndsIsNamedByAllTheOthersBeforeTheDeadline) {
  Outcomes outcomes;
  const auto begin = std::chrono::steady_clock::now();
  on_ranks(
      3,
      [&](const Group& group) {
        ASSERT_TRUE(group->gather("", "the first call").ok());
        if (group->rank() == 2) return;
        outcomes.note(group, group->gather("", "the second call").status());
      },
      seconds(60));
  for (const size_t rank : {0, 1}) {
    expect_named(outcomes.of(rank), Code::kUnavailable, "rank 2 of 3 ended, seen at 'the second call'");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(40));
}

TEST(Collective, AfterAFailureEveryCallSaysTheSame) {
  on_ranks(
      2,
      [&](const Group& group) {
        ASSERT_TRUE(
            group->gather("", "the first call").ok());  // else it leaves while the other still connects
        if (group->rank() == 1) return group->leave(invalid_argument("a reason of its own"));
        const Status first = group->gather("", "a call").status();
        expect_named(first, Code::kUnavailable, "rank 1 of 2 ended");
        EXPECT_EQ(group->status().message(), first.message());
        EXPECT_EQ(broadcast_text(*group, "", "another").status().message(), first.message());
      },
      seconds(60));
}

TEST(Collective, MeetsInTheLaunchersStoreAndThereRank0IsARankLikeAnyOther) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(free_port());
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  for (const int64_t restarts : {0, 1}) {  // torchrun keeps the store when it starts the ranks again
    const Launch base{.master_addr = "127.0.0.1",
                      .master_port = options.port,
                      .launcher_store = true,
                      .restarts = restarts};
    on_ranks(
        2,
        [&](const Group& group) {
          const auto all = group->gather("x", "a call");
          ASSERT_TRUE(all.ok()) << all.status().message();
          EXPECT_EQ(*all, (std::vector<std::string>{"x", "x"}));
          if (group->rank() == 0) return;
          expect_named(group->gather("", "the next").status(), Code::kUnavailable, "rank 0 of 2 ended");
        },
        seconds(60), base);
  }
}

TEST(Collective, TheRanksThatAreNotThereAtTheStartAreNamed) {
  const Launch launch{.master_addr = "localhost", .master_port = free_port(), .rank = 0, .size = 3};
  const Status status = connect(launch, std::chrono::milliseconds(200), {}).status();
  expect_named(status, Code::kDeadlineExceeded, "ranks 1, 2 of 3 did not come within --ddp-timeout");
}

TEST(Collective, WithoutRank0TheAddressIsNamed) {
  const Launch launch{.master_addr = "127.0.0.1", .master_port = free_port(), .rank = 1, .size = 2};
  const Status status = connect(launch, std::chrono::milliseconds(200), {}).status();
  expect_named(status, Code::kDeadlineExceeded, "rank 0 does not answer at MASTER_ADDR '127.0.0.1'");
}

TEST(Collective, AStopRequestEndsTheWaitForTheOthers) {
  std::stop_source stop;
  stop.request_stop();
  const Launch launch{.master_addr = "127.0.0.1", .master_port = free_port(), .rank = 0, .size = 2};
  EXPECT_EQ(connect(launch, seconds(600), stop.get_token()).status().code(), Code::kCancelled);
}

TEST(Collective, APortThatIsInUseIsSaidSo) {
  const int taken = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(taken, reinterpret_cast<const sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  ::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &length);
  const Launch launch{
      .master_addr = "127.0.0.1", .master_port = ntohs(address.sin_port), .rank = 0, .size = 2};
  expect_named(connect(launch, seconds(5), {}).status(), Code::kFailedPrecondition, "Address already in use");
  ::close(taken);
}

}  // namespace
}  // namespace fulcrum::testing
