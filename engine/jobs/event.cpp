#include "engine/jobs/event.h"

#include <chrono>
#include <string>

#include "engine/core/text.h"

namespace fulcrum {

std::string_view event_level_name(EventLevel level) {
  switch (level) {
    case EventLevel::kInfo:
      return "info";
    case EventLevel::kWarn:
      return "warn";
    case EventLevel::kError:
      return "error";
  }
  return "error";
}

Result<EventLevel> parse_event_level(std::string_view name) {
  for (const EventLevel level : {EventLevel::kInfo, EventLevel::kWarn, EventLevel::kError}) {
    if (name == event_level_name(level)) return level;
  }
  return invalid_argument("unknown event level " + in_quotes(name) + "; there are info, warn and error");
}

Json event_json(const Event& event) {
  return Json{{"id", numbered_name("event", event.number)},
              {"created_at", event.created_at},
              {"level", event_level_name(event.level)},
              {"type", event.type},
              {"message", event.message},
              {"data", event.data}};
}

int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

std::string numbered_name(std::string_view kind, int64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return std::string(kind) + "-" + digits;
}

}  // namespace fulcrum
