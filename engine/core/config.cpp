#include "engine/core/config.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

std::string number_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", v);
  return text;
}

std::string range_text(const Range& r) {
  const bool low = std::isfinite(r.low), high = std::isfinite(r.high);
  if (low && high) {
    return std::string(r.low_open ? "above " : "") + number_text(r.low) + " to " + (r.high_open ? "below " : "") +
           number_text(r.high);
  }
  if (low) return (r.low_open ? "> " : ">= ") + number_text(r.low);
  if (high) return (r.high_open ? "< " : "<= ") + number_text(r.high);
  return "";
}

bool in_range(double v, const Range& r) {
  return !std::isnan(v) && (r.low_open ? v > r.low : v >= r.low) && (r.high_open ? v < r.high : v <= r.high);
}

// Keeps the dotted path of the key being visited.
class PathVisitor : public ConfigVisitor {
 protected:
  std::string path_of(std::string_view key) const { return prefix_ + std::string(key); }
  void push(std::string suffix) {
    lengths_.push_back(prefix_.size());
    prefix_ += suffix;
  }
  void pop() {
    prefix_.resize(lengths_.back());
    lengths_.pop_back();
  }

 private:
  std::string prefix_;
  std::vector<size_t> lengths_;
};

class Reader final : public PathVisitor {
 public:
  explicit Reader(const Json& root) { scopes_.push_back({&root, {}}); }

  Status finish() {
    report_unknown();
    if (errors_.empty()) return ok_status();
    return invalid_argument(join(errors_, "; "));
  }

  void field(std::string_view key, bool& value, std::string_view) override {
    if (const Json* j = find(key)) {
      if (j->is_boolean()) value = j->get<bool>();
      else wrong(key, "true or false", *j);
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
      if (j->is_string()) value = j->get<std::string>();
      else wrong(key, "a string", *j);
    }
  }
  void field(std::string_view key, std::string& value, const Choices& choices, std::string_view) override {
    const Json* j = find(key);
    if (j == nullptr) return;
    if (!j->is_string()) return wrong(key, "a string", *j);
    std::string got = j->get<std::string>();
    if (std::find(choices.names.begin(), choices.names.end(), got) == choices.names.end()) {
      errors_.push_back("key " + in_quotes(path_of(key)) + ": " + in_quotes(got) + " is not one of " +
                        join(choices.names, ", "));
      return;
    }
    value = std::move(got);
  }
  void field(std::string_view key, std::optional<int64_t>& value, const Range& range, std::string_view) override {
    if (const Json* j = find(key)) {
      int64_t v = 0;
      if (j->is_null()) value.reset();
      else if (integer(path_of(key), *j, range, v)) value = v;
    }
  }
  void field(std::string_view key, std::optional<double>& value, const Range& range, std::string_view) override {
    if (const Json* j = find(key)) {
      double v = 0;
      if (j->is_null()) value.reset();
      else if (number(path_of(key), *j, range, v)) value = v;
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
  void field(std::string_view key, std::vector<int64_t>& value, const Range& each, std::string_view) override {
    numbers(key, value, [&](const std::string& path, const Json& j, int64_t& v) { return integer(path, j, each, v); });
  }
  void field(std::string_view key, std::vector<double>& value, const Range& each, std::string_view) override {
    numbers(key, value, [&](const std::string& path, const Json& j, double& v) { return number(path, j, each, v); });
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
    return lists_.back() != nullptr ? lists_.back()->size() : (j == nullptr ? size_kept(size) : 0);
  }
  void enter_item(size_t index) override {
    push("[" + std::to_string(index) + "].");
    static const Json kEmpty = Json::object();
    const Json* item = lists_.back() != nullptr ? &(*lists_.back())[index] : &kEmpty;
    if (!item->is_object()) {
      errors_.push_back("key " + in_quotes(path_of("")) + " must be an object, not " + item->type_name());
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

  static size_t size_kept(size_t size) { return size; }

  const Json* find(std::string_view key) {
    Scope& scope = scopes_.back();
    scope.known.emplace_back(key);
    if (!scope.object->is_object()) return nullptr;
    const auto it = scope.object->find(std::string(key));
    return it == scope.object->end() ? nullptr : &*it;
  }
  void wrong(std::string_view key, std::string_view wanted, const Json& got) {
    errors_.push_back("key " + in_quotes(path_of(key)) + " must be " + std::string(wanted) + ", not " + got.type_name());
  }
  bool ranged(const std::string& path, double v, const Range& range) {
    if (in_range(v, range)) return true;
    errors_.push_back("key " + in_quotes(path) + " is " + number_text(v) + "; it must be " +
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
      errors_.push_back("key " + in_quotes(path) + " must be an integer, not " + printable(dump_json(j), 40));
      return false;
    }
    if (!ranged(path, static_cast<double>(v), range)) return false;
    value = v;
    return true;
  }
  bool number(const std::string& path, const Json& j, const Range& range, double& value) {
    if (!j.is_number()) {
      errors_.push_back("key " + in_quotes(path) + " must be a number, not " + printable(dump_json(j), 40));
      return false;
    }
    const double v = j.get<double>();
    if (!std::isfinite(v)) {
      errors_.push_back("key " + in_quotes(path) + " must be finite");
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
      errors_.push_back("a config must be an object, not " + std::string(scope.object->type_name()));
      return;
    }
    for (const auto& [key, unused] : scope.object->items()) {
      if (std::find(scope.known.begin(), scope.known.end(), key) != scope.known.end()) continue;
      const std::string near = nearest_name(key, scope.known);
      errors_.push_back("unknown key " + in_quotes(path_of(key)) + (near.empty() ? "" : "; did you mean " + in_quotes(path_of(near)) + "?"));
    }
  }

  std::vector<Scope> scopes_;
  std::vector<const Json*> lists_;
  std::vector<std::string> errors_;
};

class Writer final : public ConfigVisitor {
 public:
  Writer() { stack_.push_back(Json::object()); }
  Json take() { return std::move(stack_.front()); }

  void field(std::string_view k, bool& v, std::string_view) override { put(k, v); }
  void field(std::string_view k, int64_t& v, const Range&, std::string_view) override { put(k, v); }
  void field(std::string_view k, double& v, const Range&, std::string_view) override { put(k, v); }
  void field(std::string_view k, std::string& v, std::string_view) override { put(k, v); }
  void field(std::string_view k, std::string& v, const Choices&, std::string_view) override { put(k, v); }
  void field(std::string_view k, std::optional<int64_t>& v, const Range&, std::string_view) override {
    put(k, v ? Json(*v) : Json(nullptr));
  }
  void field(std::string_view k, std::optional<double>& v, const Range&, std::string_view) override {
    put(k, v ? Json(*v) : Json(nullptr));
  }
  void field(std::string_view k, std::vector<std::string>& v, std::string_view) override { put(k, v); }
  void field(std::string_view k, std::vector<int64_t>& v, const Range&, std::string_view) override { put(k, v); }
  void field(std::string_view k, std::vector<double>& v, const Range&, std::string_view) override { put(k, v); }

 protected:
  bool enter(std::string_view key, std::string_view) override {
    keys_.emplace_back(key);
    stack_.push_back(Json::object());
    return true;
  }
  void leave() override {
    Json value = std::move(stack_.back());
    stack_.pop_back();
    Json& parent = stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return;
    }
    parent[keys_.back()] = std::move(value);
    keys_.pop_back();
  }
  size_t enter_list(std::string_view key, size_t size, std::string_view) override {
    keys_.emplace_back(key);
    stack_.push_back(Json::array());
    return size;
  }
  void enter_item(size_t) override { stack_.push_back(Json::object()); }
  void leave_list() override { leave(); }

 private:
  template <class T>
  void put(std::string_view key, const T& value) {
    stack_.back()[std::string(key)] = value;
  }
  std::vector<Json> stack_;
  std::vector<std::string> keys_;
};

// Collects KeyInfo; the schema is built from the same calls.
class Describer final : public PathVisitor {
 public:
  Describer() { schemas_.push_back(object_schema()); }
  std::vector<KeyInfo> take_keys() { return std::move(keys_); }
  Json take_schema() { return std::move(schemas_.front()); }

  void field(std::string_view k, bool& v, std::string_view doc) override { add(k, "boolean", Json(v), "", {}, doc); }
  void field(std::string_view k, int64_t& v, const Range& r, std::string_view doc) override {
    add(k, "integer", Json(v), range_text(r), limits(r), doc);
  }
  void field(std::string_view k, double& v, const Range& r, std::string_view doc) override {
    add(k, "number", Json(v), range_text(r), limits(r), doc);
  }
  void field(std::string_view k, std::string& v, std::string_view doc) override {
    add(k, "string", Json(v), "", {}, doc);
  }
  void field(std::string_view k, std::string& v, const Choices& c, std::string_view doc) override {
    add(k, "string", Json(v), join(c.names, " | "), Json{{"enum", c.names}}, doc);
  }
  void field(std::string_view k, std::optional<int64_t>& v, const Range& r, std::string_view doc) override {
    add(k, "integer or null", v ? Json(*v) : Json(nullptr), range_text(r), limits(r), doc);
  }
  void field(std::string_view k, std::optional<double>& v, const Range& r, std::string_view doc) override {
    add(k, "number or null", v ? Json(*v) : Json(nullptr), range_text(r), limits(r), doc);
  }
  void field(std::string_view k, std::vector<std::string>& v, std::string_view doc) override {
    add(k, "list of strings", Json(v), "", Json{{"items", {{"type", "string"}}}}, doc);
  }
  void field(std::string_view k, std::vector<int64_t>& v, const Range& r, std::string_view doc) override {
    add(k, "list of integers", Json(v), range_text(r), items("integer", r), doc);
  }
  void field(std::string_view k, std::vector<double>& v, const Range& r, std::string_view doc) override {
    add(k, "list of numbers", Json(v), range_text(r), items("number", r), doc);
  }

 protected:
  bool enter(std::string_view key, std::string_view doc) override {
    keys_.push_back({path_of(key), "section", "", "", std::string(doc)});
    push(std::string(key) + ".");
    names_.emplace_back(key);
    schemas_.push_back(object_schema());
    schemas_.back()["description"] = doc;
    return true;
  }
  void leave() override {
    pop();
    Json schema = std::move(schemas_.back());
    schemas_.pop_back();
    if (in_list_ > 0 && names_.back() == "[]") {
      schemas_.back()["items"] = std::move(schema);
    } else {
      schemas_.back()["properties"][names_.back()] = std::move(schema);
    }
    names_.pop_back();
  }
  size_t enter_list(std::string_view key, size_t, std::string_view doc) override {
    keys_.push_back({path_of(key), "list of objects", "[]", "", std::string(doc)});
    push(std::string(key));
    names_.emplace_back(key);
    schemas_.push_back({{"type", "array"}, {"description", doc}});
    ++in_list_;
    return 1;
  }
  void enter_item(size_t) override {
    push("[].");
    names_.emplace_back("[]");
    schemas_.push_back(object_schema());
  }
  void leave_list() override {
    --in_list_;
    leave();
  }

 private:
  static Json object_schema() {
    return {{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}};
  }
  static Json limits(const Range& r) {
    Json j = Json::object();
    if (std::isfinite(r.low)) j[r.low_open ? "exclusiveMinimum" : "minimum"] = r.low;
    if (std::isfinite(r.high)) j[r.high_open ? "exclusiveMaximum" : "maximum"] = r.high;
    return j;
  }
  static Json items(std::string_view type, const Range& r) {
    Json item = limits(r);
    item["type"] = type;
    return {{"items", item}};
  }
  void add(std::string_view key, std::string_view type, Json value, std::string range, Json extra, std::string_view doc) {
    keys_.push_back({path_of(key), std::string(type), dump_json(value), std::move(range), std::string(doc)});
    Json schema = extra.is_object() ? std::move(extra) : Json::object();
    if (type.ends_with(" or null")) {
      schema["type"] = {type.substr(0, type.find(' ')), "null"};
    } else {
      schema["type"] = type.starts_with("list") ? "array" : type;
    }
    schema["default"] = std::move(value);
    schema["description"] = doc;
    schemas_.back()["properties"][std::string(key)] = std::move(schema);
  }

  std::vector<KeyInfo> keys_;
  std::vector<Json> schemas_;
  std::vector<std::string> names_;
  int in_list_ = 0;
};

}  // namespace

namespace config_detail {

Status read(const Json& json, void* config, Visit visit) {
  Reader reader(json);
  if (json.is_object()) visit(config, reader);
  return reader.finish();
}

Json write(void* config, Visit visit) {
  Writer writer;
  visit(config, writer);
  return writer.take();
}

Json schema(void* config, Visit visit) {
  Describer describer;
  visit(config, describer);
  Json out = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}};
  out.update(describer.take_schema());
  return out;
}

std::vector<KeyInfo> keys(void* config, Visit visit) {
  Describer describer;
  visit(config, describer);
  return describer.take_keys();
}

}  // namespace config_detail

Status apply_override(Json& document, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return invalid_argument("override " + in_quotes(assignment) + " is not of the form key=value");
  }
  Json* at = &document;
  for (const std::string& part : split(assignment.substr(0, equals), '.')) {
    if (part.empty()) return invalid_argument("override " + in_quotes(assignment) + " has an empty key");
    if (at->is_null()) *at = Json::object();
    if (at->is_array()) {
      if (part.find_first_not_of("0123456789") != std::string::npos || part.size() > 6 ||
          std::stoul(part) >= at->size()) {
        return invalid_argument("override " + in_quotes(assignment) + ": the list has no item " + in_quotes(part));
      }
      at = &(*at)[std::stoul(part)];
    } else if (at->is_object()) {
      at = &(*at)[part];
    } else {
      return invalid_argument("override " + in_quotes(assignment) + ": " + in_quotes(part) + " is below a plain value");
    }
  }
  const std::string_view text = assignment.substr(equals + 1);
  Result<Json> parsed = parse_json(text);
  *at = parsed.ok() ? std::move(parsed).value() : Json(std::string(text));
  return ok_status();
}

}  // namespace fulcrum
