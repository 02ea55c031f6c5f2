#include "engine/cli/engine/local_run.h"

#include <cstdio>

#include "engine/cli/progress.h"
#include "engine/core/text.h"
#include "engine/pipeline/run_job.h"
#include "reward/rpc/service_factory.h"

namespace fulcrum::cli {
namespace {

Metrics from_json(const Json& numbers) {
  Metrics out;
  for (const auto& [name, value] : numbers.items()) {
    if (value.is_number()) add_metric(out, name, value.get<double>());
  }
  return out;
}

}  // namespace

Status run_locally(const JobConfig& config, const Path& run_folder, const std::string& label,
                   const SignalStop& signals, const std::shared_ptr<Leader>& leader) {
  Progress progress(label, stderr_is_terminal());
  std::string note;
  LocalJobControl control({
      .progress = [&](int64_t step, int64_t max_steps) { progress.update(step, max_steps, note); },
      .metrics = [&](int64_t, const Json& numbers) { note = metrics_note(from_json(numbers)); },
      .event =
          [&](const Event& event) {
            if (event.type == "presample") progress.update(0, config.max_steps, printable(event.message));
          },
  });
  const std::stop_callback stop(signals.token(),
                                [&] { control.request_stop(cancelled("stopped by a signal")); });
  if (leader != nullptr) leader->on_trouble([&](const Status& why) { control.request_stop(why); });
  const Backends backends{.rollouts = local_rollouts, .reward_service = service_rewards(), .leader = leader};
  Status status = run_job(config, run_folder, backends, control);
  if (leader != nullptr) leader->on_trouble(nullptr);
  progress.finish();
  return status;
}

}  // namespace fulcrum::cli
