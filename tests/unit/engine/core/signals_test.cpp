#include "engine/core/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace fulcrum {
namespace {

TEST(Signals, TheFirstSignalRequestsAStop) {
  const SignalStop stop;
  EXPECT_FALSE(stop.raised());
  ::kill(::getpid(), SIGTERM);
  while (!stop.raised()) ::usleep(100);
  EXPECT_TRUE(stop.token().stop_requested());
}

TEST(SignalsDeathTest, TheSecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        const SignalStop stop;
        ::kill(::getpid(), SIGINT);
        while (!stop.raised()) ::usleep(100);
        ::kill(::getpid(), SIGINT);
        for (;;) ::pause();
      },
      ::testing::ExitedWithCode(130), "");
}

}  // namespace
}  // namespace fulcrum
