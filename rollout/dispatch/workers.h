// Who generates for a learner: names, heartbeats, trust. Called by Book, which holds what each of them works
// on. Pure: it reads the clock it is given. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/core/clock.h"
#include "engine/core/status.h"

namespace fulcrum {

// One registration; a worker that comes back is a new one.
using WorkerId = int64_t;

struct WorkerOptions {
  Duration heartbeat = std::chrono::seconds(15);  // silent for longer: lost
  int64_t max_bad_results = 3;                    // then its name is quarantined until the learner restarts
  // Whether all must compute the same bits. The fingerprint (build, threads, SIMD target, dtype) to hold them
  // to; if it is empty the first worker's binds.
  bool deterministic = true;
  std::string fingerprint;
};

struct Worker {
  WorkerId id = 0;
  std::string name;
  std::string fingerprint;
  bool draining = false;  // finishes what it has, gets nothing more
  Instant last_seen;
  int64_t accepted = 0;  // results
  int64_t held = 0;      // leases
};

class WorkerBook {
 public:
  WorkerBook(WorkerOptions options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  // kInvalidArgument: no name; kPermissionDenied: quarantined; kFailedPrecondition: another fingerprint, in
  // words.
  Result<WorkerId> join(const std::string& name, const std::string& fingerprint);
  void leave(WorkerId id) { workers_.erase(id); }
  // kNotFound: lost or never registered; it must register again.
  Status heartbeat(WorkerId id);

  Worker* find(WorkerId id);
  std::vector<WorkerId> silent() const;
  std::vector<Worker> all() const;

  // Counts a bad result; true if that quarantines the name.
  bool count_bad(const std::string& name);

 private:
  WorkerOptions options_;
  const Clock& clock_;
  WorkerId last_id_ = 0;
  std::map<WorkerId, Worker> workers_;
  std::map<std::string, int64_t> bad_;  // by name: coming back under the same name forgives nothing
};

}  // namespace fulcrum
