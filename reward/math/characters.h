// The kinds of characters that answers are read by; ASCII, whatever the locale. Used by the readers of
// answers, formulas and numbers. Pure.
#pragma once

namespace fulcrum {

inline bool is_decimal_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

}  // namespace fulcrum
