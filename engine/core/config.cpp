// Writing a config out, and what all visitors share.
#include "engine/core/config.h"

#include <cmath>
#include <cstdio>

#include "engine/core/config_path.h"
#include "engine/core/text.h"

namespace fulcrum::config_detail {

std::string number_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", v);
  return text;
}

std::string range_text(const Range& r) {
  const bool low = std::isfinite(r.low), high = std::isfinite(r.high);
  if (low && high) {
    return std::string(r.low_open ? "above " : "") + number_text(r.low) + " to " +
           (r.high_open ? "below " : "") + number_text(r.high);
  }
  if (low) return (r.low_open ? "> " : ">= ") + number_text(r.low);
  if (high) return (r.high_open ? "< " : "<= ") + number_text(r.high);
  return "";
}

std::string choices_text(const Choices& choices, std::string_view separator) {
  std::vector<std::string> names = choices.names;
  for (std::string& name : names) {
    if (name.empty()) name = "\"\"";
  }
  return join(names, separator);
}

namespace {

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
  void field(std::string_view k, std::vector<int64_t>& v, const Range&, std::string_view) override {
    put(k, v);
  }
  void field(std::string_view k, std::vector<double>& v, const Range&, std::string_view) override {
    put(k, v);
  }

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

}  // namespace

Json write(void* config, Visit visit) {
  Writer writer;
  visit(config, writer);
  return writer.take();
}

}  // namespace fulcrum::config_detail
