#include "policy/text/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace fulcrum {
namespace {

// Unicode's White_Space property; utf8proc has only general categories.
bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

struct Free {
  void operator()(utf8proc_uint8_t* p) const { std::free(p); }
};

// NFC of well-formed text; the text itself if utf8proc cannot (no memory).
std::string compose(std::string_view text) {
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                          static_cast<utf8proc_ssize_t>(text.size()), &raw,
                                          static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, Free> composed(raw);
  if (n < 0) return std::string(text);
  return {reinterpret_cast<const char*>(composed.get()), static_cast<size_t>(n)};
}

}  // namespace

Utf8Char first_char(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  utf8proc_int32_t point = -1;
  const size_t longest = text.size() < 4 ? text.size() : 4;
  const utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                              static_cast<utf8proc_ssize_t>(longest), &point);
  if (n <= 0 || point < 0) return {kMalformed, 1};
  return {static_cast<char32_t>(point), static_cast<uint32_t>(n)};
}

namespace {

// Of any code point; for ASCII there is a table.
CharClass look_up_class(char32_t point) {
  if (point == '\r' || point == '\n') return CharClass::kNewline;
  if (is_white_space(point)) return CharClass::kSpace;
  if (point > 0x10FFFF) return CharClass::kOther;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    default:
      return CharClass::kOther;
  }
}

}  // namespace

CharClass class_of(char32_t point) {
  static const auto kAscii = [] {
    std::array<CharClass, 128> classes{};
    for (char32_t c = 0; c < 128; ++c) classes[c] = look_up_class(c);
    return classes;
  }();
  return point < 128 ? kAscii[point] : look_up_class(point);
}

bool is_word_char(char32_t point) {
  if (point > 0x10FFFF) return false;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return class_of(point) == CharClass::kLetter || point == 0x200C || point == 0x200D;
  }
}

std::string to_utf8(char32_t point) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(n)};
}

std::string normalize_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t run = 0;     // where the current well-formed run begins
  bool ascii = true;  // so far; ASCII is its own composition
  const auto flush = [&](size_t end) {
    const std::string_view part = text.substr(run, end - run);
    out += ascii ? std::string(part) : compose(part);
    ascii = true;
  };
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = first_char(text.substr(i));
    if (c.point == kMalformed) {
      flush(i);
      out += text[i];
      run = i + 1;
    }
    ascii = ascii && (c.length == 1);
    i += c.length;
  }
  flush(text.size());
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (size_t hit = text.find(from); hit != std::string_view::npos; hit = text.find(from, at)) {
    out += text.substr(at, hit - at);
    out += to;
    at = hit + from.size();
  }
  out += text.substr(at);
  return out;
}

}  // namespace fulcrum
