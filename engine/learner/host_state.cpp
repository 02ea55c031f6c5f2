#include "engine/learner/host_state.h"

#include <cmath>
#include <limits>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// JSON has no infinities and no NaN; finite doubles are written so that they are read back exactly.
Json write_number(double x) {
  if (std::isfinite(x)) return x;
  return std::isnan(x) ? "nan" : x > 0 ? "inf" : "-inf";
}

Result<double> read_number(const Json& json, const std::string& name) {
  if (json.is_number()) return json.get<double>();
  if (json == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (json == "inf" || json == "-inf") return json == "inf" ? kInfinity : -kInfinity;
  return invalid_argument("the saved state's objective value " + in_quotes(name) +
                          " is not a list of numbers");
}

Result<ObjectiveState> read_objective(const Json& json) {
  if (!json.is_object()) return invalid_argument("the saved state has no \"objective\"");
  ObjectiveState out;
  for (const auto& [name, list] : json.items()) {
    if (!list.is_array())
      return invalid_argument("the saved state's objective value " + in_quotes(name) +
                              " is not a list of numbers");
    std::vector<double>& values = out.values[name];
    for (const Json& item : list) {
      TRY(value, read_number(item, name));
      values.push_back(value);
    }
  }
  return out;
}

}  // namespace

Json write_host_state(const HostState& state) {
  Json objective = Json::object();
  for (const auto& [name, values] : state.objective.values) {
    Json& list = objective[name] = Json::array();
    for (const double x : values) list.push_back(write_number(x));
  }
  return {{"steps_done", state.steps_done},
          {"optimizer_steps", state.optimizer_steps},
          {"tokens_seen", state.tokens_seen},
          {"skipped_in_row", state.skipped.in_row},
          {"skipped_total", state.skipped.total},
          {"zero_spread_in_row", state.zero_spread.in_row},
          {"zero_spread_total", state.zero_spread.total},
          {"reference_version", state.reference_version},
          {"objective", std::move(objective)}};
}

Result<HostState> read_host_state(const Json& json) {
  if (!json.is_object()) return invalid_argument("the saved state is not an object");
  HostState out;
  const std::pair<const char*, int64_t*> counters[] = {
      {"steps_done", &out.steps_done},
      {"optimizer_steps", &out.optimizer_steps},
      {"tokens_seen", &out.tokens_seen},
      {"skipped_in_row", &out.skipped.in_row},
      {"skipped_total", &out.skipped.total},
      {"zero_spread_in_row", &out.zero_spread.in_row},
      {"zero_spread_total", &out.zero_spread.total},
      {"reference_version", &out.reference_version},
  };
  for (const auto& [key, into] : counters) {
    Result<int64_t> value = get_int(json, key);
    if (!value.ok()) return invalid_argument("the saved state: " + value.status().message());
    if (*value < 0) return invalid_argument("the saved state's " + in_quotes(key) + " is negative");
    *into = *value;
  }
  TRY(objective, read_objective(json.contains("objective") ? json["objective"] : Json()));
  out.objective = std::move(objective);
  return out;
}

}  // namespace fulcrum
