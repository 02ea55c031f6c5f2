// Config keys, declared once. A config struct (in a torch-free header `<x>_config.h`) has
//
//     struct SamplingConfig {
//       double temperature = 1.0;
//       void visit(ConfigVisitor& v) {
//         v.field("temperature", temperature, above(0), "softmax temperature of the rollouts");
//       }
//     };
//
// and everything else follows from that one line: reading a job file, unknown-key errors with the nearest
// name, ranges, JSON Schema, `fulcrum config explain`, the echo written into the run folder and its
// fingerprint. Not thread-safe; configs are values.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;   // low itself is outside
  bool high_open = false;  // high itself is outside
};
inline Range any_value() { return {}; }
inline Range at_least(double low) { return {.low = low}; }
inline Range above(double low) { return {.low = low, .low_open = true}; }
inline Range between(double low, double high) { return {.low = low, .high = high}; }
inline Range above_up_to(double low, double high) { return {.low = low, .high = high, .low_open = true}; }
inline Range from_below(double low, double high) { return {.low = low, .high = high, .high_open = true}; }

// A string key with a fixed set of values.
struct Choices {
  std::vector<std::string> names;
};

// Visits the keys of a config struct in order. The readers and writers below are its implementations.
class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;

  virtual void field(std::string_view key, bool& value, std::string_view doc) = 0;
  virtual void field(std::string_view key, int64_t& value, const Range& range, std::string_view doc) = 0;
  virtual void field(std::string_view key, double& value, const Range& range, std::string_view doc) = 0;
  virtual void field(std::string_view key, std::string& value, std::string_view doc) = 0;
  virtual void field(std::string_view key, std::string& value, const Choices& choices,
                     std::string_view doc) = 0;
  // null or absent: no value.
  virtual void field(std::string_view key, std::optional<int64_t>& value, const Range& range,
                     std::string_view doc) = 0;
  virtual void field(std::string_view key, std::optional<double>& value, const Range& range,
                     std::string_view doc) = 0;
  virtual void field(std::string_view key, std::vector<std::string>& value, std::string_view doc) = 0;
  virtual void field(std::string_view key, std::vector<int64_t>& value, const Range& each,
                     std::string_view doc) = 0;
  virtual void field(std::string_view key, std::vector<double>& value, const Range& each,
                     std::string_view doc) = 0;

  // An object of its own.
  template <class C>
  void section(std::string_view key, C& config, std::string_view doc) {
    if (!enter(key, doc)) return;
    config.visit(*this);
    leave();
  }
  // An array of objects.
  template <class C>
  void list(std::string_view key, std::vector<C>& items, std::string_view doc) {
    const size_t n = enter_list(key, items.size(), doc);
    items.resize(n);
    for (size_t i = 0; i < n; ++i) {
      enter_item(i);
      items[i].visit(*this);
      leave();
    }
    leave_list();
  }

 protected:
  virtual bool enter(std::string_view key, std::string_view doc) = 0;  // false: skip the section
  virtual void leave() = 0;
  virtual size_t enter_list(std::string_view key, size_t size,
                            std::string_view doc) = 0;  // how many items to visit
  virtual void enter_item(size_t index) = 0;
  virtual void leave_list() = 0;
};

// One declared key, as documentation sees it.
struct KeyInfo {
  std::string path;           // "optimizer.learning_rate", "reward_funcs[].name"
  std::string type;           // "integer", "number", "string", "boolean", "list of ...", "section"
  std::string default_value;  // JSON text
  std::string range;          // "> 0", "0 to 1", "a | b | c", ""
  std::string doc;
};

namespace config_detail {
using Visit = void (*)(void* config, ConfigVisitor& visitor);
Status read(const Json& json, void* config, Visit visit);
Json write(void* config, Visit visit);
Json schema(void* config, Visit visit);
std::vector<KeyInfo> keys(void* config, Visit visit);
template <class C>
void visit_as(void* config, ConfigVisitor& visitor) {
  static_cast<C*>(config)->visit(visitor);
}
}  // namespace config_detail

// Fills a config from JSON over its defaults. All errors at once, in one line, separated by "; ": unknown
// keys (with the nearest known name), wrong types, values out of range. kInvalidArgument.
template <class C>
Result<C> read_config(const Json& json) {
  C config;
  TRY_DO(config_detail::read(json, &config, config_detail::visit_as<C>));
  return config;
}

// The whole config as JSON, defaults included, keys in declared order.
template <class C>
Json write_config(const C& config) {
  C copy = config;
  return config_detail::write(&copy, config_detail::visit_as<C>);
}

// JSON Schema (draft 2020-12) of the config.
template <class C>
Json config_schema() {
  C config;
  return config_detail::schema(&config, config_detail::visit_as<C>);
}

template <class C>
std::vector<KeyInfo> config_keys() {
  C config;
  return config_detail::keys(&config, config_detail::visit_as<C>);
}

// Applies "a.b.c=value" (value is JSON, or a bare string) onto a document. kInvalidArgument if malformed.
Status apply_override(Json& document, std::string_view assignment);

}  // namespace fulcrum
