#include "engine/core/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace fulcrum {
namespace {

bool is_ignored(int number) {
  struct sigaction now {};
  return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGQUIT}) sigaddset(&set, number);
  if (!is_ignored(SIGHUP)) sigaddset(&set, SIGHUP);  // `nohup` asked for the contrary
  return set;
}

}  // namespace

SignalStop::SignalStop(const Clock& clock) : clock_(clock) {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a file limit is an error of write(), as a full disk is
  for (const int number : {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO}) ::signal(number, SIG_IGN);
  waiter_ = std::thread([this, waited = set] {
    int number = 0;
    Instant first;
    while (::sigwait(&waited, &number) == 0) {
      if (done_) return;
      if (!source_.stop_requested()) {
        first = clock_.now();
        source_.request_stop();
      } else if (clock_.now() - first >= kOneWish) {
        ::_exit(130);
      }
    }
  });
}

SignalStop::~SignalStop() {
  done_ = true;
  ::pthread_kill(waiter_.native_handle(), SIGTERM);
  waiter_.join();
}

}  // namespace fulcrum
