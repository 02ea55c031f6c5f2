#include "engine/cli/engine/ranks.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "engine/collective/c10d_collective.h"
#include "engine/core/log.h"
#include "engine/pipeline/follow.h"

namespace fulcrum::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIdleEvery{30000};

std::string name_of(const Launch& launch) { return "rank " + std::to_string(launch.rank); }

int follow_leader(const Launch& launch, const std::shared_ptr<Collective>& group,
                  const std::stop_token& stop) {
  const Result<int> code = follow(group, stop);
  return code.ok() ? *code : report(code.status().with_context(name_of(launch)));
}

}  // namespace

void add_rank_options(CLI::App& verb, RankOptions& options) {
  verb.add_option("--ddp-timeout", options.timeout_s,
                  "data-parallel under torchrun: seconds that the ranks wait for one that does not come")
      ->check(CLI::Range(0.1, 1e7))
      ->capture_default_str();
}

int on_all_ranks(const RankOptions& options, const SignalStop& signals,
                 const std::function<int(const std::shared_ptr<Leader>&)>& lead) {
  const Result<Launch> launch = read_launch([](const char* name) { return std::getenv(name); });
  if (!launch.ok()) return report(launch.status());
  if (launch->size == 1) return lead(nullptr);
  if (launch->rank > 0) {
    set_log_name(name_of(*launch));
    set_log_level("warn");
  }
  const auto deadline =
      std::chrono::duration_cast<milliseconds>(std::chrono::duration<double>(options.timeout_s));
  const auto group = connect(*launch, deadline, signals.token());
  if (!group.ok())
    return report(launch->rank == 0 ? group.status() : group.status().with_context(name_of(*launch)));
  if (launch->rank > 0) return follow_leader(*launch, *group, signals.token());
  const auto leader = std::make_shared<Leader>(*group, std::min(kIdleEvery, deadline / 4));
  const int code = lead(leader);
  leader->end(code);
  return code;
}

}  // namespace fulcrum::cli
