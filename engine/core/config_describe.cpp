// Describing a config: its keys for people, its JSON Schema for programs.
#include <cmath>

#include "engine/core/config_path.h"
#include "engine/core/text.h"

namespace fulcrum::config_detail {
namespace {

// Collects KeyInfo; the schema is built from the same calls.
class Describer final : public PathVisitor {
 public:
  Describer() { schemas_.push_back(object_schema()); }
  std::vector<KeyInfo> take_keys() { return std::move(keys_); }
  Json take_schema() { return std::move(schemas_.front()); }

  void field(std::string_view k, bool& v, std::string_view doc) override {
    add(k, "boolean", Json(v), "", {}, doc);
  }
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
    add(k, "string", Json(v), choices_text(c, " | "), Json{{"enum", c.names}}, doc);
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
  void add(std::string_view key, std::string_view type, Json value, std::string range, Json extra,
           std::string_view doc) {
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

}  // namespace fulcrum::config_detail
