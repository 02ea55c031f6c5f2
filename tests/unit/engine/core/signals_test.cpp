#include "engine/core/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace fulcrum {
namespace {

// Counts its readings: SignalStop reads it once for each signal it has taken.
class CountedClock final : public Clock {
 public:
  Instant now() const override {
    const Instant now = clock_.now();
    ++readings_;
    return now;
  }
  void advance(Duration d) { clock_.advance(d); }
  void wait_for_reading(int n) const {
    while (readings_ < n) ::usleep(100);
  }

 private:
  FakeClock clock_;
  mutable std::atomic<int> readings_ = 0;
};

TEST(Signals, TheFirstSignalRequestsAStop) {
  const SignalStop stop;
  EXPECT_FALSE(stop.raised());
  ::kill(::getpid(), SIGTERM);
  while (!stop.raised()) ::usleep(100);
  EXPECT_TRUE(stop.token().stop_requested());
}

TEST(Signals, AClosedTerminalIsAStopAndWhatMeansNothingIsIgnored) {
  for (const int number : {SIGHUP, SIGQUIT}) {
    const SignalStop stop;
    for (const int other : {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO}) ::kill(::getpid(), other);
    EXPECT_FALSE(stop.raised());
    ::kill(::getpid(), number);
    while (!stop.raised()) ::usleep(100);
  }
}

TEST(SignalsDeathTest, UnderNohupAClosedTerminalIsNoStop) {
  EXPECT_EXIT(
      {
        ::signal(SIGHUP, SIG_IGN);
        CountedClock clock;
        const SignalStop stop(clock);
        ::kill(::getpid(), SIGHUP);
        ::kill(::getpid(), SIGTERM);
        clock.wait_for_reading(1);
        clock.advance(SignalStop::kOneWish);
        ::kill(::getpid(), SIGHUP);
        ::raise(SIGHUP);
        std::fputs("still here", stderr);
        ::_exit(0);
      },
      ::testing::ExitedWithCode(0), "still here");
}

TEST(SignalsDeathTest, ASecondWishEndsTheProcessAndOneSentTwiceDoesNot) {
  EXPECT_EXIT(
      {
        CountedClock clock;
        const SignalStop stop(clock);
        ::kill(::getpid(), SIGINT);
        clock.wait_for_reading(1);
        ::kill(::getpid(), SIGINT);  // these two come while the clock stands still
        clock.wait_for_reading(2);
        ::kill(::getpid(), SIGTERM);
        clock.wait_for_reading(3);
        clock.advance(SignalStop::kOneWish);
        std::fputs("still here", stderr);
        ::kill(::getpid(), SIGINT);
        for (;;) ::pause();
      },
      ::testing::ExitedWithCode(130), "still here");
}

}  // namespace
}  // namespace fulcrum
