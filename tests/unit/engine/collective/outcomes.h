// What each rank of a test came to. For the tests of collectives.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "engine/collective/collective.h"

namespace fulcrum::testing {

class Outcomes {
 public:
  void note(const std::shared_ptr<Collective>& group, Status status) {
    const std::lock_guard lock(mutex_);
    by_rank_[static_cast<size_t>(group->rank())] = std::move(status);
  }
  const Status& of(size_t rank) const { return by_rank_[rank]; }

 private:
  std::mutex mutex_;
  std::array<Status, 3> by_rank_;
};

inline void expect_named(const Status& status, Code code, const std::string& text) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
}

}  // namespace fulcrum::testing
