#include "engine/collective/launch.h"

#include <charconv>
#include <string_view>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr int64_t kMostRanks = 65536;

Result<std::string> text_of(const Environment& environment, const char* name) {
  const char* value = environment(name);
  if (value == nullptr || *value == 0) {
    return invalid_argument(std::string("WORLD_SIZE is set, but ") + name +
                            " is not: start every rank with torchrun, or set both");
  }
  return std::string(value);
}

Result<int64_t> number_of(const Environment& environment, const char* name, int64_t least, int64_t most) {
  TRY(text, text_of(environment, name));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    return invalid_argument(std::string("environment variable ") + name + " is " + in_quotes(text) +
                            ", not a whole number from " + std::to_string(least) + " to " +
                            std::to_string(most));
  }
  return value;
}

}  // namespace

Result<Launch> read_launch(const Environment& environment) {
  Launch out;
  const char* world = environment("WORLD_SIZE");
  if (world == nullptr || *world == 0) return out;
  TRY(size, number_of(environment, "WORLD_SIZE", 1, kMostRanks));
  if (size == 1) return out;
  out.size = size;
  TRY(rank, number_of(environment, "RANK", 0, size - 1));
  TRY(address, text_of(environment, "MASTER_ADDR"));
  TRY(port, number_of(environment, "MASTER_PORT", 1, 65535));
  out.rank = rank;
  out.master_addr = std::move(address);
  out.master_port = port;
  const char* agent = environment("TORCHELASTIC_USE_AGENT_STORE");
  out.launcher_store = agent != nullptr && std::string_view(agent) == "True";
  const char* restarts = environment("TORCHELASTIC_RESTART_COUNT");
  if (out.launcher_store && restarts != nullptr && *restarts != 0) {
    TRY(count, number_of(environment, "TORCHELASTIC_RESTART_COUNT", 0, INT32_MAX));
    out.restarts = count;
  }
  return out;
}

}  // namespace fulcrum
