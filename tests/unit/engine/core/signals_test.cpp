#include "engine/core/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>

namespace fulcrum {
namespace {

TEST(Signals, TheFirstSignalRequestsAStop) {
  const SignalStop stop;
  EXPECT_FALSE(stop.raised());
  ::kill(::getpid(), SIGTERM);
  while (!stop.raised()) ::usleep(100);
  EXPECT_TRUE(stop.token().stop_requested());
}

TEST(SignalsDeathTest, ASecondWishEndsTheProcessAndOneSentTwiceDoesNot) {
  EXPECT_EXIT(
      {
        FakeClock clock;
        const SignalStop stop(clock);
        ::kill(::getpid(), SIGINT);
        while (!stop.raised()) ::usleep(100);
        sigset_t pending;
        for (const int number : {SIGINT, SIGTERM}) {  // both are taken while the clock stands still
          ::kill(::getpid(), number);
          do ::sigpending(&pending);
          while (::sigismember(&pending, number) == 1);
        }
        clock.advance(SignalStop::kOneWish);
        std::fputs("still here", stderr);
        ::kill(::getpid(), SIGINT);
        for (;;) ::pause();
      },
      ::testing::ExitedWithCode(130), "still here");
}

}  // namespace
}  // namespace fulcrum
