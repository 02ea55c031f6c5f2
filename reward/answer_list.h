// Parts of one answer that stand apart in a text: "\boxed{1} and \boxed{2}", "$1$, $2$ or $3$". Used by
// answer_text.cpp only. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fulcrum {

// A stretch of text that may be an answer.
struct Candidate {
  size_t begin = 0, end = 0;              // with its delimiters
  size_t inner_begin = 0, inner_end = 0;  // without
};

std::string_view inner_of(std::string_view text, const Candidate& c);

enum class Parts {
  kFormulas,  // joined by commas, "and" and "or"
  kBoxes,     // also by bullets, by what a box is for ("for part (a) and") and over the name of the next
};

// The last candidate, together with those before it that are joined to it, as a list. Names before boxes
// stay, "x = \boxed{1}, y = \boxed{2}" is x = 1, y = 2, and a box with one joins only boxes with one.
//
// What joins is narrow on purpose. Joined parts are one answer, all of which must be right: to name several
// values where one is asked for earns nothing. A part that a sentence keeps apart from the last one ("no, it
// is \boxed{2}") is withdrawn and earns nothing either.
std::string joined_tail(std::string_view text, const std::vector<Candidate>& all, Parts parts);

}  // namespace fulcrum
