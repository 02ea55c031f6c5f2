// Logging: one line an event on stderr, through spdlog. Thread-safe. Untrusted text goes through printable()
// first.
#pragma once

#include <string_view>

namespace fulcrum {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

void log_line(LogLevel level, std::string_view message);
inline void log_debug(std::string_view m) { log_line(LogLevel::kDebug, m); }
inline void log_info(std::string_view m) { log_line(LogLevel::kInfo, m); }
inline void log_warn(std::string_view m) { log_line(LogLevel::kWarn, m); }
inline void log_error(std::string_view m) { log_line(LogLevel::kError, m); }

// "debug", "info", "warn" or "error"; anything else leaves the level as it is. Default: info.
void set_log_level(std::string_view name);

}  // namespace fulcrum
