// Text of models and files for people to read: line breaks and tabs stay, whatever else could drive a
// terminal is escaped. Called by the verbs that print such text. Pure.
#pragma once

#include <string>
#include <string_view>

namespace fulcrum::cli {

std::string terminal_text(std::string_view text);

}  // namespace fulcrum::cli
