// BOS, EOS and padding: what the small files beside a vocabulary (tokenizer_config.json,
// special_tokens_map.json, added_tokens.json, config.json) say about it. Called by the readers of all
// formats. Values.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "policy/text/added_tokens.h"
#include "policy/text/source_files.h"

namespace fulcrum {

struct SpecialTokens {
  std::optional<TokenId> bos, eos, pad;
  bool add_bos = false;
  bool add_eos = false;
};

// A token the files may name, leave open (then the next file is asked) or deny (null).
struct NamedToken {
  bool stated = false;
  std::string content;        // "" with `stated`: there is none
  std::optional<TokenId> id;  // where a file gives the number instead
};

struct TokenConfig {
  NamedToken bos, eos, pad;
  std::optional<bool> add_bos, add_eos;
  bool add_prefix_space = false;
  std::string tokenizer_class;    // "GPT2Tokenizer", "Qwen2TokenizerFast", ...
  std::vector<AddedToken> added;  // added_tokens_decoder and added_tokens.json
  Json character_table;           // the whole tokenizer_config.json if it has "char_ords", else null
};

// Reads the files that exist in `folder`; none of them need to.
Result<TokenConfig> read_token_config(const Path& folder, SourceFiles& sources);

using FindToken = std::function<std::optional<TokenId>(std::string_view content)>;

// The config over what the vocabulary itself says. kInvalidArgument if a named token is not in the
// vocabulary.
Result<SpecialTokens> resolve_special_tokens(const TokenConfig& config, SpecialTokens from_vocabulary,
                                             const FindToken& find, int64_t vocab_size);

// Into the hash: ids that no vocabulary file says.
void add_choice(const SpecialTokens& special, SourceFiles& sources);

}  // namespace fulcrum
