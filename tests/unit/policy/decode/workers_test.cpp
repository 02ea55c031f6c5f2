#include "policy/decode/workers.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace fulcrum {
namespace {

TEST(Workers, RunEveryPartOnceHoweverManyThereAre) {
  Workers workers(3);
  ASSERT_EQ(workers.count(), 3);
  for (int round = 0; round < 2000; ++round) {
    const int64_t parts = 1 + round % 3;
    std::array<int, 3> runs{};
    workers.run(parts, [&](int64_t part) { ++runs[static_cast<size_t>(part)]; });
    for (int64_t part = 0; part < 3; ++part)
      ASSERT_EQ(runs[static_cast<size_t>(part)], part < parts ? 1 : 0) << "part " << part << " of " << parts;
  }
}

TEST(Workers, RunTheFirstPartOnTheCallersThread) {
  Workers workers(2);
  for (const int64_t parts : {1, 2}) {
    std::array<std::thread::id, 2> ids{};
    workers.run(parts, [&](int64_t part) { ids[static_cast<size_t>(part)] = std::this_thread::get_id(); });
    EXPECT_EQ(ids[0], std::this_thread::get_id());
    EXPECT_NE(ids[1], ids[0]);
  }
}

}  // namespace
}  // namespace fulcrum
