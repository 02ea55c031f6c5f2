#include "policy/text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

constexpr size_t kAlphabetEnd = 0x100 + 68;  // 68 bytes of Latin-1 are not printable

// Code point to byte, or -1.
constexpr std::array<int16_t, kAlphabetEnd> make_table() {
  std::array<int16_t, kAlphabetEnd> table{};
  for (auto& entry : table) entry = -1;
  size_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    table[printable ? static_cast<size_t>(b) : next++] = static_cast<int16_t>(b);
  }
  return table;
}

constexpr auto kByteOf = make_table();

}  // namespace

std::optional<std::string> bytes_of_spelling(std::string_view piece) {
  std::string bytes;
  while (!piece.empty()) {
    const Utf8Char c = first_char(piece);
    if (c.point >= kAlphabetEnd || kByteOf[c.point] < 0) return std::nullopt;
    bytes += static_cast<char>(kByteOf[c.point]);
    piece.remove_prefix(c.length);
  }
  return bytes;
}

}  // namespace fulcrum
