// Reading a config: JSON over the defaults, every complaint at once.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "engine/core/config_path.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace config_detail {
namespace {

bool in_range(double v, const Range& r) {
  return !std::isnan(v) && (r.low_open ? v > r.low : v >= r.low) && (r.high_open ? v < r.high : v <= r.high);
}

// A config has few errors and short lists; a hostile one must not cost memory.
constexpr size_t kMaxComplaints = 20, kMaxListItems = 1000;

// Sections have few keys, which help whoever meant another one; all keys of a job would fill the screen.
constexpr size_t kMaxKeysShown = 20;

class Reader final : public PathVisitor {
 public:
  explicit Reader(const Json& root) { scopes_.push_back({&root, {}}); }

  Status finish() {
    report_unknown();
    if (complaints_ == 0) return ok_status();
    if (complaints_ > errors_.size()) {
      errors_.push_back("and " + std::to_string(complaints_ - errors_.size()) + " more");
    }
    return invalid_argument(join(errors_, "; "));
  }

  void field(std::string_view key, bool& value, std::string_view) override {
    if (const Json* j = find(key)) {
      if (j->is_boolean())
        value = j->get<bool>();
      else
        wrong(key, "true or false", *j);
    }
  }
  void field(std::string_view key, int64_t& value, const Range& range, std::string_view) override {
    if (const Json* j = find(key)) integer(path_of(key), *j, range, value);
  }
  void field(std::string_view key, double& value, const Range& range, std::string_view) override {
    if (const Json* j = find(key)) number(path_of(key), *j, range, value);
  }
  void field(std::string_view key, std::string& value, std::string_view) override {
    if (const Json* j = find(key)) {
      if (j->is_string())
        value = j->get<std::string>();
      else
        wrong(key, "a string", *j);
    }
  }
  void field(std::string_view key, std::string& value, const Choices& choices, std::string_view) override {
    const Json* j = find(key);
    if (j == nullptr) return;
    if (!j->is_string()) return wrong(key, "a string", *j);
    std::string got = j->get<std::string>();
    if (std::find(choices.names.begin(), choices.names.end(), got) == choices.names.end()) {
      complain("key " + in_quotes(path_of(key)) + ": " + in_quotes(got) + " is not one of " +
               choices_text(choices, ", "));
      return;
    }
    value = std::move(got);
  }
  void field(std::string_view key, std::optional<int64_t>& value, const Range& range,
             std::string_view) override {
    if (const Json* j = find(key)) {
      int64_t v = 0;
      if (j->is_null())
        value.reset();
      else if (integer(path_of(key), *j, range, v))
        value = v;
    }
  }
  void field(std::string_view key, std::optional<double>& value, const Range& range,
             std::string_view) override {
    if (const Json* j = find(key)) {
      double v = 0;
      if (j->is_null())
        value.reset();
      else if (number(path_of(key), *j, range, v))
        value = v;
    }
  }
  void field(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    const Json* j = find(key);
    if (j == nullptr) return;
    if (j->is_string()) {  // one item needs no brackets
      value = {j->get<std::string>()};
      return;
    }
    if (!j->is_array()) return wrong(key, "a list of strings", *j);
    std::vector<std::string> out;
    for (const Json& item : *j) {
      if (!item.is_string()) return wrong(key, "a list of strings", item);
      out.push_back(item.get<std::string>());
    }
    value = std::move(out);
  }
  void field(std::string_view key, std::vector<int64_t>& value, const Range& each,
             std::string_view) override {
    numbers(key, value,
            [&](const std::string& path, const Json& j, int64_t& v) { return integer(path, j, each, v); });
  }
  void field(std::string_view key, std::vector<double>& value, const Range& each, std::string_view) override {
    numbers(key, value,
            [&](const std::string& path, const Json& j, double& v) { return number(path, j, each, v); });
  }

 protected:
  bool enter(std::string_view key, std::string_view) override {
    const Json* j = find(key);
    if (j == nullptr) return false;
    if (!j->is_object()) {
      wrong(key, "an object", *j);
      return false;
    }
    push(std::string(key) + ".");
    scopes_.push_back({j, {}});
    return true;
  }
  void leave() override {
    report_unknown();
    scopes_.pop_back();
    pop();
  }
  size_t enter_list(std::string_view key, size_t size, std::string_view) override {
    const Json* j = find(key);
    if (j != nullptr && !j->is_array()) wrong(key, "a list of objects", *j);
    push(std::string(key));
    lists_.push_back(j != nullptr && j->is_array() ? j : nullptr);
    if (lists_.back() == nullptr) return j == nullptr ? size : 0;
    if (j->size() <= kMaxListItems) return j->size();
    complain("key " + in_quotes(path_of("")) + " has " + std::to_string(j->size()) + " items; at most " +
             std::to_string(kMaxListItems) + " are taken");
    return 0;
  }
  void enter_item(size_t index) override {
    push("[" + std::to_string(index) + "].");
    static const Json kEmpty = Json::object();
    const Json* item = lists_.back() != nullptr ? &(*lists_.back())[index] : &kEmpty;
    if (!item->is_object()) {
      complain("key " + in_quotes(path_of("")) + " must be an object, not " + item->type_name());
      item = &kEmpty;
    }
    scopes_.push_back({item, {}});
  }
  void leave_list() override {
    lists_.pop_back();
    pop();
  }

 private:
  struct Scope {
    const Json* object;
    std::vector<std::string> known;
  };

  void complain(std::string complaint) {
    if (++complaints_ <= kMaxComplaints) errors_.push_back(std::move(complaint));
  }
  const Json* find(std::string_view key) {
    Scope& scope = scopes_.back();
    scope.known.emplace_back(key);
    if (!scope.object->is_object()) return nullptr;
    const auto it = scope.object->find(std::string(key));
    return it == scope.object->end() ? nullptr : &*it;
  }
  void wrong(std::string_view key, std::string_view wanted, const Json& got) {
    complain("key " + in_quotes(path_of(key)) + " must be " + std::string(wanted) + ", not " +
             got.type_name());
  }
  bool ranged(const std::string& path, double v, const Range& range) {
    if (in_range(v, range)) return true;
    complain("key " + in_quotes(path) + " is " + number_text(v) + "; it must be " +
             (range_text(range).empty() ? "a number" : range_text(range)));
    return false;
  }
  bool integer(const std::string& path, const Json& j, const Range& range, int64_t& value) {
    int64_t v = 0;
    if (j.is_number_unsigned() && j.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) {
      v = static_cast<int64_t>(j.get<uint64_t>());
    } else if (j.is_number_integer() && !j.is_number_unsigned()) {
      v = j.get<int64_t>();
    } else {
      complain("key " + in_quotes(path) + " must be an integer, not " + printable(dump_json(j), 40));
      return false;
    }
    if (!ranged(path, static_cast<double>(v), range)) return false;
    value = v;
    return true;
  }
  bool number(const std::string& path, const Json& j, const Range& range, double& value) {
    if (!j.is_number()) {
      complain("key " + in_quotes(path) + " must be a number, not " + printable(dump_json(j), 40));
      return false;
    }
    const double v = j.get<double>();
    if (!std::isfinite(v)) {
      complain("key " + in_quotes(path) + " must be finite");
      return false;
    }
    if (!ranged(path, v, range)) return false;
    value = v;
    return true;
  }
  template <class T, class ReadOne>
  void numbers(std::string_view key, std::vector<T>& value, ReadOne read_one) {
    const Json* j = find(key);
    if (j == nullptr) return;
    if (!j->is_array()) return wrong(key, "a list of numbers", *j);
    std::vector<T> out(j->size());
    for (size_t i = 0; i < out.size(); ++i) {
      if (!read_one(path_of(key) + "[" + std::to_string(i) + "]", (*j)[i], out[i])) return;
    }
    value = std::move(out);
  }
  void report_unknown() {
    const Scope& scope = scopes_.back();
    if (!scope.object->is_object()) {
      complain("a config must be an object, not " + std::string(scope.object->type_name()));
      return;
    }
    const std::string all = scope.known.size() > kMaxKeysShown
                                ? " (`fulcrum config schema` lists the keys)"
                                : " (known here: " + join(scope.known, ", ") + ")";
    bool listed = false;
    for (const auto& [key, unused] : scope.object->items()) {
      if (contains(scope.known, key)) continue;
      const std::string near = nearest_name(key, scope.known);
      const bool list = near.empty() && !std::exchange(listed, listed || near.empty());
      complain("unknown key " + in_quotes(path_of(key)) +
               (near.empty() ? "" : "; did you mean " + in_quotes(path_of(near)) + "?") + (list ? all : ""));
    }
  }

  std::vector<Scope> scopes_;
  std::vector<const Json*> lists_;
  std::vector<std::string> errors_;  // the first kMaxComplaints
  size_t complaints_ = 0;
};

}  // namespace

Status read(const Json& json, void* config, Visit visit) {
  Reader reader(json);
  if (json.is_object()) visit(config, reader);
  return reader.finish();
}

}  // namespace config_detail

namespace {

// Of what is no JSON all else is a text without its quotes.
bool is_too_large(std::string_view number) {
  double ignored = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), ignored);
  return error == std::errc::result_out_of_range && end == number.data() + number.size();
}

}  // namespace

Status apply_override(Json& document, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return invalid_argument("override " + in_quotes(assignment) + " is not of the form key=value");
  }
  const std::vector<std::string> keys = split(assignment.substr(0, equals), '.');
  // With the value's own levels never deeper than what dump_json may recurse.
  if (keys.size() > static_cast<size_t>(kMaxJsonDepth)) {
    return invalid_argument("override " + in_quotes(assignment, 60) + " is nested deeper than " +
                            std::to_string(kMaxJsonDepth) + " levels");
  }
  Json* at = &document;
  for (const std::string& part : keys) {
    if (part.empty()) return invalid_argument("override " + in_quotes(assignment) + " has an empty key");
    if (at->is_null()) *at = Json::object();
    if (at->is_array()) {
      if (part.find_first_not_of("0123456789") != std::string::npos || part.size() > 6 ||
          std::stoul(part) >= at->size()) {
        return invalid_argument("override " + in_quotes(assignment) + ": the list has no item " +
                                in_quotes(part));
      }
      at = &(*at)[std::stoul(part)];
    } else if (at->is_object()) {
      at = &(*at)[part];
    } else {
      return invalid_argument("override " + in_quotes(assignment) + ": " + in_quotes(part) +
                              " is below a plain value");
    }
  }
  const std::string_view text = assignment.substr(equals + 1);
  Result<Json> parsed = parse_json(text);
  if (!parsed.ok() && is_too_large(text))
    return parsed.status().with_context("override " + in_quotes(assignment));
  *at = parsed.ok() ? std::move(parsed).value() : Json(std::string(text));
  return ok_status();
}

}  // namespace fulcrum
