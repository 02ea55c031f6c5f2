#include "engine/core/json.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/core/flat_json.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

// Walks a text and counts the lines it has passed; nlohmann tells its events no place.
class CountingIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, int64_t* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *line_ += *at_ == '\n' ? 1 : 0;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  int64_t* line_;
};

// Builds the document from parser events (so depth is bounded before anything recurses).
template <class J>
class Builder {
 public:
  // `line`: where the parser is. Given: a key twice in one object is an error. Not given: the last one
  // counts, as with most readers: a data row that another program wrote is taken as others take it.
  explicit Builder(const int64_t* line) : line_(line) {}

  using number_integer_t = typename J::number_integer_t;
  using number_unsigned_t = typename J::number_unsigned_t;
  using number_float_t = typename J::number_float_t;
  using string_t = typename J::string_t;
  using binary_t = typename J::binary_t;

  bool null() { return put(J(nullptr)); }
  bool boolean(bool v) { return put(J(v)); }
  bool number_integer(number_integer_t v) { return put(J(v)); }
  bool number_unsigned(number_unsigned_t v) { return put(J(v)); }
  bool number_float(number_float_t v, const string_t&) { return put(J(v)); }
  bool string(string_t& v) { return put(J(std::move(v))); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(J::object()); }
  bool start_array(size_t) { return open(J::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(string_t& k) {
    open_.back().key = std::move(k);
    if (line_ != nullptr) key_line_ = *line_;
    return true;
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception& e) {
    position_ = position;
    error_ = e.what();
    if (e.id == kNumberOverflow) too_large_ = token;
    return false;
  }

  J take() { return std::move(root_); }
  bool too_deep() const { return too_deep_; }
  // "line L: key 'k' ...", or "".
  const std::string& repeated() const { return repeated_; }
  size_t position() const { return position_; }
  const std::string& error() const { return error_; }
  const std::string& too_large() const { return too_large_; }  // a number; or ""

 private:
  // A container whose end has not come yet.
  struct Open {
    J* container;
    string_t key;                                 // of the member that comes next
    std::unordered_map<string_t, size_t> places;  // of the members so far, once there are many
  };
  static constexpr size_t kFew = 16;           // members that are found faster without a table
  static constexpr int kNumberOverflow = 406;  // nlohmann's

  J* place(J value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& top = open_.back();
    if (!top.container->is_array()) return place_member(top, std::move(value));
    top.container->push_back(std::move(value));
    return &top.container->back();
  }
  // ordered_json looks a key up by walking all members: of n, n^2 steps, which a hostile document would have
  // us do.
  J* place_member(Open& top, J value) {
    if constexpr (std::is_same_v<J, Json>) {
      auto& members = top.container->template get_ref<typename J::object_t&>();
      if (members.size() >= kFew) {
        if (top.places.empty()) {
          for (size_t i = 0; i < members.size(); ++i) top.places.emplace((members.begin() + i)->first, i);
        }
        const auto [place, is_new] = top.places.try_emplace(top.key, members.size());
        if (is_new) return &members.Container::emplace_back(top.key, std::move(value)).second;
        if (line_ != nullptr) return repeats(top.key);
        return &((members.begin() + place->second)->second = std::move(value));
      }
    }
    if (line_ != nullptr && top.container->contains(top.key)) return repeats(top.key);
    return &((*top.container)[top.key] = std::move(value));
  }
  J* repeats(const string_t& key) {
    repeated_ =
        "line " + std::to_string(key_line_) + ": key " + in_quotes(key) + " is there already; keep one";
    return nullptr;
  }
  bool put(J value) { return place(std::move(value)) != nullptr; }
  bool open(J container) {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      too_deep_ = true;
      return false;
    }
    J* const placed = place(std::move(container));
    if (placed == nullptr) return false;
    open_.push_back({placed, {}, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  J root_;
  std::vector<Open> open_;
  bool too_deep_ = false;
  const int64_t* line_;
  int64_t key_line_ = 0;
  std::string repeated_;
  size_t position_ = 0;
  std::string error_, too_large_;
};

// nlohmann's messages read "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error
// ...".
std::string readable(const std::string& what) {
  size_t at = what.find("line ");
  if (at == std::string::npos) {
    at = what.find("] ");
    return at == std::string::npos ? what : what.substr(at + 2);
  }
  return what.substr(at);
}

template <class J>
Result<J> parse(std::string_view text, JsonOptions options) {
  int64_t line = 1;
  Builder<J> builder(options.comments ? &line : nullptr);
  const auto run = [&](auto begin, auto end) {
    return J::sax_parse(begin, end, &builder, nlohmann::detail::input_format_t::json, /*strict=*/true,
                        options.comments);
  };
  const bool fine = options.comments ? run(CountingIterator(text.data(), &line),
                                           CountingIterator(text.data() + text.size(), &line))
                                     : run(text.begin(), text.end());
  if (fine) return builder.take();
  if (!builder.repeated().empty()) return invalid_argument(builder.repeated());
  if (builder.too_deep()) {
    return invalid_argument("JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
  }
  if (!builder.too_large().empty()) {
    const std::string_view before = text.substr(0, builder.position());
    const auto number_line = 1 + std::count(before.begin(), before.end(), '\n');
    return invalid_argument((options.comments ? "line " + std::to_string(number_line) + ": " : "") +
                            "the number " + printable(builder.too_large(), 40) +
                            " is out of range: the largest is 1.8e308");
  }
  return invalid_argument(printable(readable(builder.error()), 300));
}

Status wrong_type(std::string_view key, std::string_view wanted, const Json& got) {
  return invalid_argument("key " + in_quotes(key) + " must be " + std::string(wanted) + ", not " +
                          got.type_name());
}

}  // namespace

Result<Json> parse_json(std::string_view text, JsonOptions options) {
  if (!options.comments) {
    if (std::optional<Json> row = parse_flat_object(text)) return *std::move(row);
  }
  return parse<Json>(text, options);
}
Result<SortedJson> parse_sorted_json(std::string_view text, JsonOptions options) {
  return parse<SortedJson>(text, options);
}

// A document that could drive a terminal is written in ASCII, which every reader takes for the same.
std::string dump_json(const Json& value, int indent) {
  const auto text = [&](bool ascii) {
    return value.dump(indent, ' ', ascii, Json::error_handler_t::replace);
  };
  std::string out = text(false);
  return drives_terminal(out) ? text(true) : out;
}

Result<std::string> get_string(const Json& object, std::string_view key) {
  TRY(text, get_text(object, key));
  return std::string(text);
}

Result<std::string_view> get_text(const Json& object, std::string_view key) {
  const auto it = object.is_object() ? object.find(std::string(key)) : object.end();
  if (it == object.end()) return not_found("key " + in_quotes(key) + " is missing");
  if (!it->is_string()) return wrong_type(key, "a string", *it);
  return std::string_view(it->get_ref<const std::string&>());
}

Result<int64_t> get_int(const Json& object, std::string_view key) {
  const auto it = object.is_object() ? object.find(std::string(key)) : object.end();
  if (it == object.end()) return not_found("key " + in_quotes(key) + " is missing");
  if (!it->is_number_integer()) return wrong_type(key, "an integer", *it);
  if (it->is_number_unsigned() && it->template get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return invalid_argument("key " + in_quotes(key) + " is too large");
  }
  return it->template get<int64_t>();
}

Result<double> get_double(const Json& object, std::string_view key) {
  const auto it = object.is_object() ? object.find(std::string(key)) : object.end();
  if (it == object.end()) return not_found("key " + in_quotes(key) + " is missing");
  if (!it->is_number()) return wrong_type(key, "a number", *it);
  return it->template get<double>();
}

}  // namespace fulcrum
