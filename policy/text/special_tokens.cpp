#include "policy/text/special_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/llama_tokenizer_config.h"

namespace fulcrum {
namespace {

// The member, or nothing (also where `object` is none).
const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

bool flag(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

std::optional<bool> optional_flag(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (value == nullptr || !value->is_boolean()) return std::nullopt;
  return value->get<bool>();
}

// The tokenizer_config.json that write_model() made up.
bool is_made_up(const Path& path) {
  std::error_code ignored;
  if (std::filesystem::file_size(path, ignored) != kLlamaTokenizerConfig.size()) return false;
  const auto text = read_file(path);
  return text.ok() && *text == kLlamaTokenizerConfig;
}

// The document, or null where there is no such file. `sources`: that it counts for, or none.
Result<Json> read_if_there(const Path& path, SourceFiles* sources) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return Json(nullptr);
  TRY(text, sources == nullptr ? read_file(path) : sources->read(path));
  auto parsed = parse_json(text);
  if (!parsed.ok()) return parsed.status().with_context(in_quotes(path.string()));
  if (!parsed->is_object()) return invalid_argument(in_quotes(path.string()) + " must hold one JSON object");
  return parsed;
}

// "bos_token": "<s>", {"content": "<s>", ...} or null.
void read_name(const Json& object, const char* key, NamedToken& token) {
  const Json* value = member(object, key);
  if (value == nullptr || token.stated) return;
  if (value->is_object()) value = member(*value, "content");
  if (value == nullptr || !(value->is_string() || value->is_null())) return;
  token.stated = true;
  if (value->is_string()) token.content = value->get<std::string>();
}

// "eos_token_id": 2, [2, 7] (the first counts) or null.
void read_id(const Json& object, const char* key, NamedToken& token) {
  const Json* value = member(object, key);
  if (value == nullptr || token.stated) return;
  if (value->is_array() && !value->empty()) value = &value->front();
  if (!value->is_number_integer()) return;
  const int64_t id = value->get<int64_t>();
  token.stated = true;
  token.id = id < 0 || id > INT32_MAX ? -1 : static_cast<TokenId>(id);
}

Result<int64_t> id_of_key(const std::string& key) {
  int64_t id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > INT32_MAX) {
    return invalid_argument("key " + in_quotes(key) + " of added_tokens_decoder is not a token id");
  }
  return id;
}

Status read_added_decoder(const Json& config, std::vector<AddedToken>& added) {
  const Json* decoder = member(config, "added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return ok_status();
  for (const auto& [key, value] : decoder->items()) {
    TRY(id, id_of_key(key));
    TRY(content, get_string(value, "content"));
    added.push_back({std::move(content), static_cast<TokenId>(id), flag(value, "special"),
                     flag(value, "normalized"), flag(value, "single_word"), flag(value, "lstrip"),
                     flag(value, "rstrip")});
  }
  return ok_status();
}

// added_tokens.json gives only ids; what tokenizer_config.json says about the same token goes first.
Status read_added_list(const Json& list, std::vector<AddedToken>& added) {
  if (!list.is_object()) return ok_status();
  const bool described = !added.empty();
  for (const auto& [content, value] : list.items()) {
    if (!value.is_number_integer())
      return invalid_argument("added token " + in_quotes(content) + " has no integer id");
    const int64_t id = value.get<int64_t>();
    if (id < 0 || id > INT32_MAX)
      return invalid_argument("added token " + in_quotes(content) + " has a wrong id");
    const bool known = described && std::any_of(added.begin(), added.end(), [&](const AddedToken& token) {
                         return token.id == static_cast<TokenId>(id);
                       });
    if (!known) added.push_back({.content = content, .id = static_cast<TokenId>(id), .special = true});
  }
  return ok_status();
}

Result<std::optional<TokenId>> resolve(const NamedToken& token, std::optional<TokenId> otherwise,
                                       const char* name, const FindToken& find, int64_t vocab_size) {
  if (!token.stated) return otherwise;
  if (token.id) {
    if (*token.id >= 0 && *token.id < vocab_size) return token.id;
    return invalid_argument(std::string(name) + "_token_id of config.json is outside the vocabulary of " +
                            std::to_string(vocab_size) + " ids");
  }
  if (token.content.empty()) return std::optional<TokenId>();
  if (const auto id = find(token.content)) return id;
  return invalid_argument(std::string(name) + "_token " + in_quotes(token.content) +
                          " is not in the vocabulary");
}

// Where nothing names the end: the names that model families use.
std::optional<TokenId> likely_end(const FindToken& find) {
  for (const char* name : {"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>"}) {
    if (const auto id = find(name)) return id;
  }
  return std::nullopt;
}

}  // namespace

Result<TokenConfig> read_token_config(const Path& folder, SourceFiles& sources) {
  const Path main_path = folder / "tokenizer_config.json";
  TRY(main, is_made_up(main_path) ? Result<Json>(nullptr) : read_if_there(main_path, &sources));
  TRY(map, read_if_there(folder / "special_tokens_map.json", &sources));
  TRY(list, read_if_there(folder / "added_tokens.json", &sources));
  TRY(model, read_if_there(folder / "config.json", nullptr));
  TokenConfig config;
  const std::array<std::pair<const char*, NamedToken*>, 3> names = {
      {{"bos", &config.bos}, {"eos", &config.eos}, {"pad", &config.pad}}};
  for (const auto& [name, token] : names) {
    const std::string key = std::string(name) + "_token";
    read_name(main, key.c_str(), *token);
    read_name(map, key.c_str(), *token);
    read_id(model, (key + "_id").c_str(), *token);
  }
  config.add_bos = optional_flag(main, "add_bos_token");
  config.add_eos = optional_flag(main, "add_eos_token");
  config.add_prefix_space = flag(main, "add_prefix_space");
  if (const Json* name = member(main, "tokenizer_class"); name != nullptr && name->is_string()) {
    config.tokenizer_class = name->get<std::string>();
  }
  TRY_DO(read_added_decoder(main, config.added));
  TRY_DO(read_added_list(list, config.added));
  if (member(main, "char_ords") != nullptr) config.character_table = std::move(main);
  return config;
}

Result<SpecialTokens> resolve_special_tokens(const TokenConfig& config, SpecialTokens from_vocabulary,
                                             const FindToken& find, int64_t vocab_size) {
  SpecialTokens special = from_vocabulary;
  TRY(bos, resolve(config.bos, special.bos, "bos", find, vocab_size));
  TRY(eos, resolve(config.eos, special.eos, "eos", find, vocab_size));
  TRY(pad, resolve(config.pad, special.pad, "pad", find, vocab_size));
  special.bos = bos;
  special.eos = eos || config.eos.stated ? eos : likely_end(find);
  special.pad = pad;
  special.add_bos = config.add_bos.value_or(special.add_bos);
  special.add_eos = config.add_eos.value_or(special.add_eos);
  return special;
}

void add_choice(const SpecialTokens& special, SourceFiles& sources) {
  std::string text = "special tokens";
  for (const auto& id : {special.bos, special.eos, special.pad})
    text += " " + std::to_string(id.value_or(-1));
  text += special.add_bos ? " bos" : "";
  text += special.add_eos ? " eos" : "";
  sources.add_choice(text);
}

}  // namespace fulcrum
