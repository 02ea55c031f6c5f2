#include "rollout/dispatch/workers.h"

#include "engine/core/text.h"

namespace fulcrum {

Result<WorkerId> WorkerBook::join(const std::string& name, const std::string& fingerprint) {
  if (name.empty()) return invalid_argument("a worker must have a name");
  if (const auto bad = bad_.find(name); bad != bad_.end() && bad->second >= options_.max_bad_results) {
    return Status(Code::kPermissionDenied,
                  "worker " + in_quotes(name) + " is quarantined after " + std::to_string(bad->second) +
                      " bad results; repair it and restart the learner, or give it another name");
  }
  if (options_.deterministic) {
    if (options_.fingerprint.empty()) options_.fingerprint = fingerprint;
    if (fingerprint != options_.fingerprint) {
      return failed_precondition(
          "worker " + in_quotes(name) + " computes as " + in_quotes(fingerprint) + " and this run as " +
          in_quotes(options_.fingerprint) +
          ": its tokens could differ; use the same build (in bfloat16 also CPUs that all have, or all lack, "
          "AVX-512 BF16), or set deterministic to false");
    }
  }
  const WorkerId id = ++last_id_;
  workers_[id] = {.id = id, .name = name, .fingerprint = fingerprint, .last_seen = clock_.now()};
  return id;
}

Status WorkerBook::heartbeat(WorkerId id) {
  Worker* worker = find(id);
  if (worker == nullptr)
    return not_found("worker " + std::to_string(id) + " is not registered; register again");
  worker->last_seen = clock_.now();
  return ok_status();
}

Worker* WorkerBook::find(WorkerId id) {
  const auto it = workers_.find(id);
  return it == workers_.end() ? nullptr : &it->second;
}

std::vector<WorkerId> WorkerBook::silent() const {
  std::vector<WorkerId> ids;
  for (const auto& [id, worker] : workers_) {
    if (clock_.now() - worker.last_seen > options_.heartbeat) ids.push_back(id);
  }
  return ids;
}

std::vector<Worker> WorkerBook::all() const {
  std::vector<Worker> all;
  for (const auto& [id, worker] : workers_) all.push_back(worker);
  return all;
}

bool WorkerBook::count_bad(const std::string& name) { return ++bad_[name] >= options_.max_bad_results; }

}  // namespace fulcrum
