// Ranks of one group as threads of the test, over Gloo as in a real run. For tests of what they do together.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "engine/collective/c10d_collective.h"
#include "tests/support/free_port.h"

namespace fulcrum::testing {

using RankWork = std::function<void(const std::shared_ptr<Collective>& group)>;

// `work` on each rank of a launch like `base`.
inline void on_ranks(int64_t size, const RankWork& work,
                     std::chrono::milliseconds deadline = std::chrono::seconds(30),
                     const Launch& base = {.master_addr = "127.0.0.1", .master_port = free_port()}) {
  ::signal(SIGPIPE, SIG_IGN);  // as the programs do: a rank that is gone is an error like any other
  // LibTorch's record of calls is one for a process, and two groups of it write to it unguarded. A real rank
  // is a process with one group.
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", /*replace=*/1);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([=] {
      Launch launch = base;
      launch.rank = rank;
      launch.size = size;
      const auto group = connect(launch, deadline, {});
      ASSERT_TRUE(group.ok()) << group.status().message();
      work(*group);
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace fulcrum::testing
