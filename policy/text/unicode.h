// UTF-8 code points, the Unicode classes the splitters ask for, and NFC. Called by the splitters and the BPE
// tokenizer. Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fulcrum {

// What the known pre-tokenisation patterns distinguish: \p{L}, \p{N}, [\r\n], the rest of \s, everything
// else. A malformed byte is kOther.
enum class CharClass : uint8_t { kOther, kLetter, kNumber, kNewline, kSpace };
inline bool is_space(CharClass c) { return c == CharClass::kSpace || c == CharClass::kNewline; }

struct Utf8Char {
  char32_t point = 0;   // of a malformed sequence: kMalformed
  uint32_t length = 1;  // in bytes; of a malformed sequence 1
};
inline constexpr char32_t kMalformed = 0xFFFFFFFF;

// The code point at the front of `text`, which is not empty.
Utf8Char first_char(std::string_view text);
CharClass class_of(char32_t point);
bool is_word_char(char32_t point);    // \w: letters, marks, decimal digits, connectors, joiners
std::string to_utf8(char32_t point);  // point: a Unicode scalar value

// Canonical composition. Malformed bytes stay as they are, and composition does not reach across them.
std::string normalize_nfc(std::string_view text);

// Every `from` (not empty) becomes `to`, left to right.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// U+2581, how SentencePiece writes a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

}  // namespace fulcrum
