// A verb that trains, on one process or on several that torchrun (or who sets its variables) started: rank 0
// is the program as it always is, the others lend it their machines. Called by `run` and `learner`.
#pragma once

#include <functional>
#include <memory>

#include "engine/cli/verb.h"
#include "engine/core/signals.h"
#include "engine/learner/leader.h"

namespace fulcrum::cli {

struct RankOptions {
  double timeout_s = 600;
};

// Declares --ddp-timeout.
void add_rank_options(CLI::App& verb, RankOptions& options);

// On rank 0, and where there is only one, `lead` with the leader of the others (null: alone); elsewhere
// follows it. The exit code: of rank 0 on every rank, unless the ranks lose each other.
int on_all_ranks(const RankOptions& options, const SignalStop& signals,
                 const std::function<int(const std::shared_ptr<Leader>&)>& lead);

}  // namespace fulcrum::cli
