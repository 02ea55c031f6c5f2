// Logging: one line an event on stderr, through spdlog. Thread-safe. Untrusted text goes through printable()
// first.
#pragma once

#include <functional>
#include <string_view>

namespace fulcrum {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

void log_line(LogLevel level, std::string_view message);
inline void log_debug(std::string_view m) { log_line(LogLevel::kDebug, m); }
inline void log_info(std::string_view m) { log_line(LogLevel::kInfo, m); }
inline void log_warn(std::string_view m) { log_line(LogLevel::kWarn, m); }
inline void log_error(std::string_view m) { log_line(LogLevel::kError, m); }

// While it lives, what is logged on this thread also goes to `take`, whatever the level that stderr shows: so
// that the warnings of a job reach those who watch it. The youngest tee of a thread takes.
class LogTee {
 public:
  using Take = std::function<void(LogLevel, std::string_view)>;
  explicit LogTee(Take take);
  ~LogTee();
  LogTee(const LogTee&) = delete;
  LogTee& operator=(const LogTee&) = delete;

 private:
  Take take_;
  LogTee* outer_;
  friend void log_line(LogLevel level, std::string_view message);
};

// Stands in every line, where several processes write to one terminal.
void set_log_name(std::string_view name);

// "debug", "info", "warn" or "error"; anything else leaves the level as it is. Default: info.
void set_log_level(std::string_view name);

}  // namespace fulcrum
