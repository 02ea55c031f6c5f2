#include "engine/rpc/job_convert.h"

#include "engine/core/text.h"

namespace fulcrum {

static_assert(static_cast<int>(v1::JOB_STATE_QUEUED) == static_cast<int>(JobState::kQueued) + 1 &&
                  static_cast<int>(v1::JOB_STATE_CANCELLED) == static_cast<int>(JobState::kCancelled) + 1,
              "the wire's states are ours, moved up by one");

v1::JobState to_wire(JobState state) { return static_cast<v1::JobState>(static_cast<int>(state) + 1); }

Result<JobState> from_wire(v1::JobState state) {
  const int ours = static_cast<int>(state) - 1;
  if (ours < 0 || ours >= static_cast<int>(kJobStates.size())) {
    return invalid_argument("unknown job state " + std::to_string(static_cast<int>(state)));
  }
  return static_cast<JobState>(ours);
}

v1::Job to_wire(const Job& job, bool with_config) {
  v1::Job wire;
  wire.set_id(job.id);
  wire.set_name(to_valid_utf8(job.name));
  wire.set_state(to_wire(job.state));
  wire.set_why(to_valid_utf8(job.why));
  wire.set_revision(job.revision);
  wire.set_epoch(job.epoch);
  wire.set_step(job.step);
  wire.set_max_steps(job.max_steps);
  wire.set_created_unix_seconds(job.created_at);
  wire.set_started_unix_seconds(job.started_at);
  wire.set_finished_unix_seconds(job.finished_at);
  if (with_config) wire.set_config_json(to_valid_utf8(job.config));
  return wire;
}

Result<Job> from_wire(const v1::Job& job) {
  TRY(state, from_wire(job.state()));
  return Job{.id = job.id(),
             .name = job.name(),
             .config = job.config_json(),
             .state = state,
             .why = job.why(),
             .revision = job.revision(),
             .epoch = job.epoch(),
             .step = job.step(),
             .max_steps = job.max_steps(),
             .created_at = job.created_unix_seconds(),
             .started_at = job.started_unix_seconds(),
             .finished_at = job.finished_unix_seconds()};
}

v1::JobEvent to_wire(const Event& event) {
  v1::JobEvent wire;
  wire.set_number(event.number);
  wire.set_created_unix_seconds(event.created_at);
  wire.set_level(std::string(event_level_name(event.level)));
  wire.set_type(to_valid_utf8(event.type));
  wire.set_message(to_valid_utf8(event.message));
  wire.set_data_json(dump_json(event.data));
  return wire;
}

Result<Event> from_wire(const v1::JobEvent& event) {
  TRY(level, parse_event_level(event.level()));
  TRY(data, parse_json(event.data_json().empty() ? "null" : event.data_json()));
  return Event{.number = event.number(),
               .created_at = event.created_unix_seconds(),
               .level = level,
               .type = event.type(),
               .message = event.message(),
               .data = data};
}

}  // namespace fulcrum
