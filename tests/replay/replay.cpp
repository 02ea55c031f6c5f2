#include "tests/replay/replay.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <stdexcept>

#include "engine/core/text.h"

namespace fulcrum::replay {
namespace {

constexpr size_t kShownFailures = 10;

std::string shown(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", x);
  return text;
}

void run_case(const Op& op, const Json& item, const std::string& name,
              std::map<std::string, Tally>& tallies) {
  for (const auto& [precision, label] :
       {std::pair(Precision::kFloat64, "float64"), std::pair(Precision::kFloat32, "float32")}) {
    Tally& tally = tallies[name + " " + label];
    try {
      op(item, precision, tally);
    } catch (const std::exception& e) {
      tally.fail(name + ": " + printable(e.what(), 300));
    }
  }
}

// Layout B: {ops, cases[]}.
Status replay_cases(const Json& file, const Ops& ops, std::map<std::string, Tally>& tallies) {
  for (const Json& item : file["cases"]) {
    TRY(name, get_string(item, "op"));
    const auto op = ops.by_name.find(name);
    if (op == ops.by_name.end()) return invalid_argument("unknown op " + in_quotes(name));
    run_case(op->second, item, name, tallies);
  }
  return ok_status();
}

// Layout A: {schema: "family/version", block: list of cases or one object}.
Status replay_blocks(const Json& file, const Ops& ops, std::map<std::string, Tally>& tallies) {
  const auto schema = file["schema"].get<std::string>();
  const std::string family = schema.substr(0, schema.find('/'));
  for (const auto& [block, content] : file.items()) {
    if (block == "schema" || block == "paper" || block == "conventions") continue;
    const std::string name = family + "." + block;
    const auto op = ops.by_name.find(name);
    if (op == ops.by_name.end()) return invalid_argument("unknown op " + in_quotes(name));
    if (content.is_array()) {
      for (const Json& item : content) run_case(op->second, item, name, tallies);
    } else {
      run_case(op->second, content, name, tallies);
    }
  }
  return ok_status();
}

}  // namespace

double number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  throw std::invalid_argument("not a number: " + text);
}

const Json* given(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

double number_or(const Json& object, const std::string& key, double otherwise) {
  const Json* value = given(object, key);
  return value == nullptr ? otherwise : number(*value);
}

std::optional<double> number_if_given(const Json& object, const std::string& key) {
  const Json* value = given(object, key);
  return value == nullptr ? std::nullopt : std::optional(number(*value));
}

bool flag_or(const Json& object, const std::string& key, bool otherwise) {
  const Json* value = given(object, key);
  return value == nullptr ? otherwise : value->get<bool>();
}

std::string text_or(const Json& object, const std::string& key, const std::string& otherwise) {
  const Json* value = given(object, key);
  return value == nullptr ? otherwise : value->get<std::string>();
}

std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& value : list) out.push_back(number(value));
  return out;
}

std::vector<std::vector<double>> matrix(const Json& rows) {
  std::vector<std::vector<double>> out;
  for (const Json& row : rows) out.push_back(numbers(row));
  return out;
}

void Tally::fail(const std::string& message) {
  worst_ = std::numeric_limits<double>::infinity();
  if (failures_.size() < kShownFailures) failures_.push_back(message);
}

void Tally::near(double got, const Json& want, Tolerance tolerance, const std::string& what) {
  const double e = number(want);
  if (std::isnan(e) || std::isinf(e)) {
    if (std::isnan(e) ? !std::isnan(got) : got != e) fail(what + ": " + shown(got) + " for " + shown(e));
    return;
  }
  const double share = std::abs(got - e) / (tolerance.absolute + tolerance.relative * std::abs(e));
  if (share <= 1) {
    worst_ = std::max(worst_, share);
    return;
  }
  const double worst = std::max(worst_, share);  // NaN counts as infinite
  fail(what + ": " + shown(got) + " for " + shown(e));
  if (std::isfinite(share)) worst_ = worst;
}

void Tally::near(const std::vector<double>& got, const Json& want, Tolerance tolerance,
                 const std::string& what) {
  if (got.size() != want.size())
    return fail(what + ": " + std::to_string(got.size()) + " numbers for " + std::to_string(want.size()));
  for (size_t i = 0; i < got.size(); ++i)
    near(got[i], want[i], tolerance, what + "[" + std::to_string(i) + "]");
}

void Tally::near(const std::vector<std::vector<double>>& got, const Json& want, Tolerance tolerance,
                 const std::string& what) {
  if (got.size() != want.size())
    return fail(what + ": " + std::to_string(got.size()) + " rows for " + std::to_string(want.size()));
  for (size_t i = 0; i < got.size(); ++i)
    near(got[i], want[i], tolerance, what + "[" + std::to_string(i) + "]");
}

void Tally::equal(const Json& got, const Json& want, const std::string& what) {
  if (got != want) fail(what + ": " + printable(got.dump(), 200) + " for " + printable(want.dump(), 200));
}

void Tally::refused(const Status& status, const std::string& what) {
  if (status.ok()) fail(what + ": a number where there is none");
}

void Ops::add(const std::string& name, Op op) {
  if (!by_name.emplace(name, std::move(op)).second)
    throw std::logic_error("op " + name + " is registered twice");
}

Ops all_ops() {
  Ops ops;
  add_policy_gradient_ops(ops);
  add_surrogate_ops(ops);
  add_ppo_ops(ops);
  add_dph_rl_ops(ops);
  add_salsa_ops(ops);
  add_f_dpo_ops(ops);
  add_tdpo_ops(ops);
  add_f_dpg_ops(ops);
  return ops;
}

Result<std::map<std::string, Tally>> replay_file(const Json& file, const Ops& ops) {
  std::map<std::string, Tally> tallies;
  if (file.is_object() && file.contains("cases") && file["cases"].is_array() && file.contains("ops")) {
    TRY_DO(replay_cases(file, ops, tallies));
  } else if (file.is_object() && file.contains("schema") && file["schema"].is_string()) {
    TRY_DO(replay_blocks(file, ops, tallies));
  } else {
    return invalid_argument("not a golden file: it has neither 'schema' nor 'ops' and 'cases'");
  }
  if (tallies.empty()) return invalid_argument("there is no case in this file");
  return tallies;
}

}  // namespace fulcrum::replay
