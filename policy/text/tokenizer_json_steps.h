// The parts of a tokenizer.json around the model: normalizer, pre_tokenizer, decoder, post_processor. Each
// reads its object into a BpeSpec; a type or an option that is not understood is an error, for it would
// change the ids. Called by read_tokenizer_json.
#pragma once

#include <optional>
#include <string>

#include "engine/core/json.h"
#include "policy/text/bpe_tokenizer.h"

namespace fulcrum::tokenizer_json {

// Reads that never fail: null, "" or `otherwise` where there is no such member of that type.
const SortedJson& member(const SortedJson& object, const char* key);
std::string text_of(const SortedJson& object, const char* key);
bool flag(const SortedJson& object, const char* key, bool otherwise);

bool is_byte_level(const SortedJson& pre_tokenizer);

Status read_normalizer(const SortedJson& normalizer, BpeSpec& spec);
Status read_pre_tokenizer(const SortedJson& pre_tokenizer, std::optional<Splitter> splitter, BpeSpec& spec);
Status read_decoder(const SortedJson& decoder, BpeSpec& spec);
// Sets prefix and suffix; `has_template` if there was one.
Status read_post_processor(const SortedJson& processor, BpeSpec& spec, bool& has_template);

}  // namespace fulcrum::tokenizer_json
