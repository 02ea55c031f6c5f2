// The 256 printable characters in which byte-level BPE files spell bytes (GPT-2's table): printable Latin-1
// stands for itself, every other byte for the next free character from U+0100. Called by the readers of such
// files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fulcrum {

// The bytes that a piece spells; nothing if a character is not of the alphabet.
std::optional<std::string> bytes_of_spelling(std::string_view piece);

}  // namespace fulcrum
