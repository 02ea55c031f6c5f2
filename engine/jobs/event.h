// What happened to a job, as people and programs read it: one numbered line in events.jsonl, in the store and
// on the Watch stream. The members are those of OpenAI's fine-tuning events. Values, torch-free.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

enum class EventLevel { kInfo, kWarn, kError };

std::string_view event_level_name(EventLevel level);  // "info", "warn", "error"
Result<EventLevel> parse_event_level(std::string_view name);

struct Event {
  int64_t number = 0;      // 1, 2, 3, ... within its log, without a gap
  int64_t created_at = 0;  // Unix seconds; for people, nothing is decided by it
  EventLevel level = EventLevel::kInfo;
  std::string type = "message";  // "message", "state", "metrics"
  std::string message;           // one printable line
  Json data;                     // null, or what a program wants to know
};

// {"id":"event-000012","created_at":...,"level":"info","type":"message","message":"...","data":...}
Json event_json(const Event& event);

int64_t unix_seconds();

// "job" and 12 -> "job-000012": how jobs and events are called.
std::string numbered_name(std::string_view kind, int64_t number);

}  // namespace fulcrum
