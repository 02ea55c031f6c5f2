#include "engine/rpc/event_stream.h"

#include <chrono>

namespace fulcrum {

Status follow_events(JobStore& store, const std::string& job_id, int64_t from, bool follow,
                     std::stop_token stop, const std::function<bool(const Event&)>& take) {
  for (;;) {
    // The state is read before the events: once it is terminal, every event is there to be read.
    TRY(job, store.get(job_id));
    const bool wait = follow && !is_terminal(job.state);
    TRY(events,
        wait ? store.wait_events(job_id, from, std::chrono::seconds(30), stop) : store.events(job_id, from));
    if (events.empty() && !wait) return ok_status();
    for (const Event& event : events) {
      if (!take(event)) return cancelled();
      from = event.number + 1;
    }
  }
}

}  // namespace fulcrum
