// \frac{1}{2} and \sqrt{3} in running text: one piece, whose numbers do not stand alone. Called by the
// readers of numbers. Pure functions, thread-safe, linear in the text.
#pragma once

#include <optional>
#include <string_view>

namespace fulcrum {

struct LatexCommand {
  bool fraction = false;         // \frac, \dfrac, \tfrac, \cfrac; else \sqrt
  std::string_view top, bottom;  // the arguments, without braces; of \sqrt the second is empty
  size_t length = 0;             // of it all, arguments included
};

// The command at the front of `text`, if it is one of these with its arguments. Without braces an argument is
// one character: \frac12.
std::optional<LatexCommand> latex_command(std::string_view text);

}  // namespace fulcrum
