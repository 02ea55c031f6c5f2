// A rollout worker: finds its learner, registers, generates what it is leased, and comes back after whatever
// happens to either side, until it is told to stop. Needs nothing on disk. Run by `fulcrum rollout`.
#pragma once

#include <stop_token>

#include "engine/core/status.h"
#include "rollout/rpc/worker_session.h"

namespace fulcrum {

class RolloutWorker {
 public:
  RolloutWorker(RolloutWorkerOptions options, WorkerModelFactory models)
      : options_(std::move(options)), models_(std::move(models)) {}

  // Blocks until the stop request, then ok. An error only if the options cannot be used (address, TLS and
  // token files).
  Status run(std::stop_token stop);

 private:
  RolloutWorkerOptions options_;
  WorkerModels models_;
};

}  // namespace fulcrum
