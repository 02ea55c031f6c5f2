#include "engine/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace fulcrum {
namespace {

using ::testing::ElementsAre;

TEST(LogTee, TakesWhatItsThreadLogsWhileItLives) {
  std::vector<std::string> outer, inner;
  {
    const LogTee tee([&](LogLevel, std::string_view m) { outer.emplace_back(m); });
    log_warn("first");
    {
      const LogTee younger([&](LogLevel level, std::string_view m) {
        if (level >= LogLevel::kWarn) inner.emplace_back(m);
      });
      log_info("below");
      log_warn("second");
    }
    std::thread([] { log_warn("of another thread"); }).join();
    log_error("third");
  }
  log_warn("after");
  EXPECT_THAT(outer, ElementsAre("first", "third"));
  EXPECT_THAT(inner, ElementsAre("second"));
}

}  // namespace
}  // namespace fulcrum
