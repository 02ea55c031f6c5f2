#include "engine/core/flat_json.h"

#include <charconv>
#include <string>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxMembers = 16;  // each new key is compared with all before it
constexpr size_t kMaxDigits = 18;   // of a number that fits 64 bits whatever they are

class FlatReader {
 public:
  explicit FlatReader(std::string_view text) : text_(text) {}

  std::optional<Json> run() {
    Json object = Json::object();
    auto& members = object.get_ref<Json::object_t&>();
    if (!take('{')) return std::nullopt;
    if (!take('}')) {
      do {
        std::string key;
        Json value;
        if (!string(key) || !take(':') || !read(value)) return std::nullopt;
        if (members.size() == kMaxMembers || members.find(key) != members.end()) return std::nullopt;
        members.Container::emplace_back(std::move(key), std::move(value));
      } while (take(','));
      if (!take('}')) return std::nullopt;
    }
    skip_blanks();
    return at_ == text_.size() ? std::optional(std::move(object)) : std::nullopt;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }
  bool take(char c) {
    skip_blanks();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool read(Json& value) {
    skip_blanks();
    if (peek() == '"') {
      value = std::string();
      return string(value.get_ref<std::string&>());
    }
    if (take_word("null")) return true;
    if (take_word("true")) return value = true, true;
    if (take_word("false")) return value = false, true;
    return whole_number(value);
  }

  bool whole_number(Json& value) {
    const size_t begin = at_;
    const bool negative = peek() == '-';
    if (negative) ++at_;
    const size_t digits = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    const size_t count = at_ - digits;
    const bool zero_first = count > 0 && text_[digits] == '0' && (count > 1 || negative);
    if (count == 0 || count > kMaxDigits || zero_first || peek() == '.' || peek() == 'e' || peek() == 'E')
      return false;
    int64_t number = 0;
    std::from_chars(text_.data() + begin, text_.data() + at_, number);
    value = negative ? Json(number) : Json(static_cast<uint64_t>(number));
    return true;
  }

  bool string(std::string& out) {
    if (!take('"')) return false;
    for (;;) {
      const size_t begin = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20)
        ++at_;
      out.append(text_, begin, at_ - begin);
      if (peek() == '"') return ++at_, true;
      if (peek() != '\\' || !escape(out)) return false;
    }
  }

  bool escape(std::string& out) {
    constexpr std::string_view kWritten = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    ++at_;
    if (const size_t known = kWritten.find(peek()); known != std::string_view::npos) {
      out += kMeant[known];
      ++at_;
      return true;
    }
    unsigned point = 0;
    const std::string_view hex = text_.substr(at_).substr(0, 5);
    if (hex.size() < 5 || hex[0] != 'u') return false;
    const auto [end, error] = std::from_chars(hex.data() + 1, hex.data() + 5, point, 16);
    const bool half_of_a_pair = point >= 0xD800 && point <= 0xDFFF;
    if (error != std::errc() || end != hex.data() + 5 || half_of_a_pair) return false;
    at_ += 5;
    if (point < 0x80) {
      out += static_cast<char>(point);
      return true;
    }
    if (point < 0x800) {
      out += static_cast<char>(0xC0 | point >> 6);
    } else {
      out += static_cast<char>(0xE0 | point >> 12);
      out += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    }
    out += static_cast<char>(0x80 | (point & 0x3F));
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<Json> parse_flat_object(std::string_view text) {
  return is_valid_utf8(text) ? FlatReader(text).run() : std::nullopt;
}

}  // namespace fulcrum
