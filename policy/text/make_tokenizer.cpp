#include "policy/text/make_tokenizer.h"

#include <array>
#include <unordered_set>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

constexpr std::array<const char*, 4> kSpecial = {"<pad>", "<bos>", "<eos>", "<unk>"};
constexpr int kBos = 1;

Json added_tokens() {
  Json tokens = Json::array();
  for (const char* content : kSpecial) {
    tokens.push_back({{"id", tokens.size()},
                      {"content", content},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", true}});
  }
  return tokens;
}

Json bos_template() {
  const Json bos = {{"SpecialToken", {{"id", kSpecial[kBos]}, {"type_id", 0}}}};
  const auto text = [](const char* id, int type) -> Json {
    return {{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({bos, text("A", 0)})},
          {"pair", Json::array({bos, text("A", 0), text("B", 1)})},
          {"special_tokens",
           {{kSpecial[kBos], {{"id", kSpecial[kBos]}, {"ids", {kBos}}, {"tokens", {kSpecial[kBos]}}}}}}};
}

Result<Json> vocabulary(std::string_view characters) {
  if (!is_valid_utf8(characters)) return invalid_argument("the characters of a tokenizer must be UTF-8");
  Json vocab = Json::object();
  for (const char* content : kSpecial) vocab[content] = vocab.size();
  // Pushed without ordered_json's search for duplicates, which walks all members: no special token is one
  // character.
  auto& members = vocab.get_ref<Json::object_t&>();
  std::unordered_set<std::string_view> seen;
  while (!characters.empty()) {
    const std::string_view character = characters.substr(0, first_char(characters).length);
    if (!seen.insert(character).second)
      return invalid_argument("the character " + in_quotes(character) + " is there twice");
    members.Container::emplace_back(std::string(character), members.size());
    characters.remove_prefix(character.size());
  }
  return vocab;
}

}  // namespace

Result<std::string> make_character_tokenizer_json(std::string_view characters) {
  TRY(vocab, vocabulary(characters));
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added_tokens()},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", nullptr},
                     {"post_processor", bos_template()},
                     {"decoder", {{"type", "Fuse"}}},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", "<unk>"},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocab},
                       {"merges", Json::array()}}}};
  return dump_json(file, 1) + "\n";
}

std::string make_character_tokenizer_config_json() {
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"bos_token", "<bos>"},
                       {"eos_token", "<eos>"},
                       {"pad_token", "<pad>"},
                       {"unk_token", "<unk>"},
                       {"clean_up_tokenization_spaces", false},
                       {"model_max_length", 1048576}};
  return dump_json(config, 1) + "\n";
}

Status write_character_tokenizer(const Path& folder, std::string_view characters) {
  TRY(tokenizer, make_character_tokenizer_json(characters));
  TRY_DO(write_file_atomic(folder / "tokenizer.json", tokenizer));
  return write_file_atomic(folder / "tokenizer_config.json", make_character_tokenizer_config_json());
}

}  // namespace fulcrum
