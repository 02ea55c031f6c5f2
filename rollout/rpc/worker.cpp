#include "rollout/rpc/worker.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

void pause_for(Duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace

Status RolloutWorker::run(std::stop_token stop) {
  TRY(connection, Connection::open(options_.learner));
  std::minstd_rand jitter{
      std::random_device{}()};  // so that a hundred workers do not come back in one instant
  std::uniform_real_distribution<double> part(0.5, 1.0);
  Duration backoff = options_.first_backoff;
  std::string last_told;
  bool told_of_absence = false;
  while (!stop.stop_requested()) {
    WorkerSession session(connection, options_, models_);
    const Instant began = system_clock().now();
    const Status end = session.run(stop, told_of_absence);
    if (stop.stop_requested()) break;
    // One that is let in and fails at once must not come back at once, for ever.
    if (session.registered() && system_clock().now() - began > options_.longest_backoff) {
      backoff = options_.first_backoff;
      last_told.clear();
    }
    if (end.message() != last_told) {  // a learner that stays away is told of once
      log_warn("rollout: " + end.message() + "; trying again until it works");
      last_told = end.message();
    }
    // From now on gRPC calls for it, at its own pace; asking in between would only be told again that it is
    // away.
    told_of_absence = end.code() == Code::kUnavailable;
    pause_for(std::chrono::duration_cast<Duration>(backoff * part(jitter)), stop);
    backoff = std::min(backoff * 2, options_.longest_backoff);
  }
  return ok_status();
}

}  // namespace fulcrum
