#include "engine/core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <utility>

namespace fulcrum {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto l = spdlog::stderr_color_mt("fulcrum");
    l->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
    return l;
  }();
  return *instance;
}

thread_local LogTee* youngest_tee = nullptr;

}  // namespace

LogTee::LogTee(Take take) : take_(std::move(take)), outer_(std::exchange(youngest_tee, this)) {}
LogTee::~LogTee() { youngest_tee = outer_; }

void log_line(LogLevel level, std::string_view message) {
  if (youngest_tee != nullptr) youngest_tee->take_(level, message);
  const spdlog::string_view_t text(message.data(), message.size());
  switch (level) {
    case LogLevel::kDebug:
      logger().debug(text);
      break;
    case LogLevel::kInfo:
      logger().info(text);
      break;
    case LogLevel::kWarn:
      logger().warn(text);
      break;
    case LogLevel::kError:
      logger().error(text);
      break;
  }
}

void set_log_name(std::string_view name) {
  logger().set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ " + std::string(name) + ": %v");
}

void set_log_level(std::string_view name) {
  if (name == "debug") logger().set_level(spdlog::level::debug);
  if (name == "info") logger().set_level(spdlog::level::info);
  if (name == "warn") logger().set_level(spdlog::level::warn);
  if (name == "error") logger().set_level(spdlog::level::err);
}

}  // namespace fulcrum
