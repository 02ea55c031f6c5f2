// Hugging Face's one-file form.
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/merge_list.h"
#include "policy/text/tokenizer_json_steps.h"
#include "policy/text/vocabulary_readers.h"

namespace fulcrum {
namespace {

using tokenizer_json::flag;
using tokenizer_json::member;
using tokenizer_json::text_of;

// "a b", or ["a", "b"] in newer files.
Status read_merge(const SortedJson& merge, MergeList& list, BpeSpec& spec) {
  if (merge.is_string()) return list.add_line(merge.get_ref<const std::string&>(), spec);
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return list.add_pair(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(),
                         spec);
  }
  return invalid_argument("a merge is neither \"a b\" nor [\"a\", \"b\"]");
}

Status check_model(const SortedJson& model) {
  const std::string type = text_of(model, "type");
  const bool untyped =
      !member(model, "type").is_string() && member(model, "merges").is_array();  // older files
  if (type != "BPE" && !untyped) {
    return invalid_argument("a tokenizer.json with a model of type " + in_quotes(type, 60) +
                            " is not supported, only BPE; give its SentencePiece .model if there is one");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text_of(model, key).empty())
      return invalid_argument(std::string("a BPE model with ") + key + " is not supported");
  }
  const SortedJson& dropout = member(model, "dropout");
  if (dropout.is_number() && dropout != 0)
    return invalid_argument("a BPE model with dropout gives no certain ids");
  return ok_status();
}

Status read_model(const SortedJson& model, BpeSpec& spec) {
  TRY_DO(check_model(model));
  spec.byte_fallback = !spec.byte_level && flag(model, "byte_fallback", false);
  spec.fuse_unknown = flag(model, "fuse_unk", false);
  spec.whole_word_first = flag(model, "ignore_merges", false);
  TRY(list, MergeList::from_vocabulary(member(model, "vocab"), spec));
  const std::string unknown = text_of(model, "unk_token");
  if (!unknown.empty() && !spec.byte_level) {
    spec.unknown = list.find(unknown);
    if (!spec.unknown)
      return invalid_argument("unk_token " + in_quotes(unknown) + " is not in the vocabulary");
    spec.pieces[static_cast<size_t>(*spec.unknown)].kind = PieceKind::kUnknown;
  }
  const SortedJson& merges = member(model, "merges");
  if (!merges.is_array()) return invalid_argument("the BPE model has no list of merges");
  for (const SortedJson& merge : merges) TRY_DO(read_merge(merge, list, spec));
  return ok_status();
}

Status read_added_tokens(const SortedJson& tokens, BpeSpec& spec) {
  if (tokens.is_null()) return ok_status();
  if (!tokens.is_array()) return invalid_argument("added_tokens must be a list");
  for (const SortedJson& token : tokens) {
    const SortedJson& id = member(token, "id");
    AddedToken added{.content = text_of(token, "content"),
                     .special = flag(token, "special", false),
                     .normalized = flag(token, "normalized", false),
                     .single_word = flag(token, "single_word", false),
                     .lstrip = flag(token, "lstrip", false),
                     .rstrip = flag(token, "rstrip", false)};
    const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
    if (value < 0 || value >= kMaxVocabulary) {
      return invalid_argument("added token " + in_quotes(added.content) + " has no id, or one out of range");
    }
    added.id = static_cast<TokenId>(value);
    TRY_DO(add_token(spec, std::move(added)));
  }
  return ok_status();
}

}  // namespace

Result<TokenizerJson> read_tokenizer_json(std::string_view text, std::optional<Splitter> splitter) {
  TRY(file, parse_sorted_json(text));
  if (!file.is_object()) return invalid_argument("tokenizer.json must hold one JSON object");
  TokenizerJson result;
  BpeSpec& spec = result.spec;
  const SortedJson& pre_tokenizer = member(file, "pre_tokenizer");
  spec.byte_level = tokenizer_json::is_byte_level(pre_tokenizer);
  TRY_DO(read_model(member(file, "model"), spec));
  TRY_DO(read_added_tokens(member(file, "added_tokens"), spec));
  TRY_DO(tokenizer_json::read_normalizer(member(file, "normalizer"), spec));
  TRY_DO(tokenizer_json::read_pre_tokenizer(pre_tokenizer, splitter, spec));
  TRY_DO(tokenizer_json::read_decoder(member(file, "decoder"), spec));
  TRY_DO(tokenizer_json::read_post_processor(member(file, "post_processor"), spec, result.has_template));
  return result;
}

}  // namespace fulcrum
