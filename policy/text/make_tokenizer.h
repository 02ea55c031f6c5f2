// Makes tokenizers from nothing, for demos and tests that bring no files of others. Called by the demo.
// Pure functions apart from the last, thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "engine/core/files.h"
#include "engine/core/status.h"

namespace fulcrum {

// A tokenizer.json with one token a character of `characters` (UTF-8, each once), after <pad> 0, <bos> 1,
// <eos> 2 and <unk> 3; add_special puts <bos> in front. load_tokenizer and `transformers` read it.
// kInvalidArgument.
Result<std::string> make_character_tokenizer_json(std::string_view characters);
// The tokenizer_config.json that belongs beside it.
std::string make_character_tokenizer_config_json();

// Both files into a folder that exists.
Status write_character_tokenizer(const Path& folder, std::string_view characters);

}  // namespace fulcrum
