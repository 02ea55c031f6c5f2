// The tokenizer inside a GGUF file.
#include <array>
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/merge_list.h"
#include "policy/text/unicode.h"
#include "policy/text/vocabulary_readers.h"

namespace fulcrum {
namespace {

enum TokenType : int64_t {
  kTypeNormal = 1,
  kTypeUnknown = 2,
  kTypeControl = 3,
  kTypeUserDefined = 4,
  kTypeUnused = 5,
  kTypeByte = 6
};

struct Pre {
  std::string_view name;
  Splitter splitter;
  bool single_digits_first;
};
constexpr std::array<Pre, 12> kPre = {{{"gpt-2", Splitter::kGpt2, false},
                                       {"phi-2", Splitter::kGpt2, false},
                                       {"mpt", Splitter::kGpt2, false},
                                       {"olmo", Splitter::kGpt2, false},
                                       {"llama-bpe", Splitter::kCl100k, false},
                                       {"llama3", Splitter::kCl100k, false},
                                       {"llama-v3", Splitter::kCl100k, false},
                                       {"dbrx", Splitter::kCl100k, false},
                                       {"qwen2", Splitter::kQwen2, false},
                                       {"deepseek-r1-qwen", Splitter::kQwen2, false},
                                       {"smollm", Splitter::kGpt2, true},
                                       {"starcoder", Splitter::kGpt2, true}}};

std::optional<bool> flag(const GgufMetadata& metadata, std::string_view key) {
  const bool* value = metadata.find<bool>(key);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

// A special id; an id outside the vocabulary is refused when the tokenizer is made.
std::optional<TokenId> id_of(const GgufMetadata& metadata, std::string_view key) {
  const int64_t* value = metadata.find<int64_t>(key);
  if (value == nullptr || *value == UINT32_MAX) return std::nullopt;  // the files' way to say none
  return static_cast<TokenId>(*value < 0 || *value > INT32_MAX ? INT32_MAX : *value);
}

struct Lists {
  const std::vector<std::string>* tokens;
  const std::vector<int64_t>* types;  // may be nullptr
  const std::vector<double>* scores;  // may be nullptr
};

Result<Lists> lists_of(const GgufMetadata& metadata) {
  const Lists lists{metadata.find<std::vector<std::string>>("tokenizer.ggml.tokens"),
                    metadata.find<std::vector<int64_t>>("tokenizer.ggml.token_type"),
                    metadata.find<std::vector<double>>("tokenizer.ggml.scores")};
  if (lists.tokens == nullptr)
    return invalid_argument("the GGUF file has no vocabulary (tokenizer.ggml.tokens)");
  const size_t n = lists.tokens->size();
  if ((lists.types != nullptr && lists.types->size() != n) ||
      (lists.scores != nullptr && lists.scores->size() != n)) {
    return invalid_argument("the GGUF vocabulary's tokens, scores and types are not equally many");
  }
  return lists;
}

// Added tokens go through add_token at the end, so that the list of pieces is complete.
Status add_typed(const Lists& lists, BpeSpec& spec, MergeList& list) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < lists.tokens->size(); ++i) {
    const std::string& text = (*lists.tokens)[i];
    const int64_t type = lists.types == nullptr ? int64_t{kTypeNormal} : (*lists.types)[i];
    const auto id = static_cast<int64_t>(i);
    if (type == kTypeControl || type == kTypeUserDefined) {
      if (id >= kMaxVocabulary) return invalid_argument("the GGUF vocabulary is too large");
      added.push_back({.content = text, .id = static_cast<TokenId>(id), .special = type == kTypeControl});
    } else if (type == kTypeUnknown) {
      // The rows that pad a vocabulary have this type too, so only the id that the file names stands for the
      // unknown.
      TRY_DO(set_piece(spec, id, {text, spec.unknown == id ? PieceKind::kUnknown : PieceKind::kSpecial}));
    } else if (type == kTypeUnused) {
      TRY_DO(set_piece(spec, id, {text, PieceKind::kSpecial}));
    } else {
      TRY_DO(list.add_piece(text, id, spec));
      if (lists.scores != nullptr) spec.pieces[i].score = static_cast<float>((*lists.scores)[i]);
    }
  }
  for (AddedToken& token : added) TRY_DO(add_token(spec, std::move(token)));
  return ok_status();
}

Status read_merges(const GgufMetadata& metadata, MergeList& list, BpeSpec& spec) {
  const auto* merges = metadata.find<std::vector<std::string>>("tokenizer.ggml.merges");
  if (merges == nullptr) return invalid_argument("the GGUF file has no merges (tokenizer.ggml.merges)");
  for (const std::string& merge : *merges) TRY_DO(list.add_line(merge, spec));
  return ok_status();
}

Status choose_splitters(const GgufMetadata& metadata, std::optional<Splitter> chosen, BpeSpec& spec) {
  const std::string* pre = metadata.find<std::string>("tokenizer.ggml.pre");
  if (!chosen) {
    for (const Pre& known : kPre) {
      if (pre == nullptr || known.name != *pre) continue;
      if (known.single_digits_first) spec.splitters.push_back(Splitter::kSingleDigits);
      chosen = known.splitter;
    }
  }
  if (!chosen) {
    return invalid_argument("the GGUF file's pre-tokenizer " + in_quotes(pre == nullptr ? "" : *pre, 60) +
                            " is not known; if it is like a known one, say which with " + splitter_choice());
  }
  use_splitter(spec, *chosen);
  spec.whole_word_first = pre != nullptr && (*pre == "llama-bpe" || *pre == "llama3" || *pre == "llama-v3");
  return ok_status();
}

// SentencePiece's BPE as llama.cpp runs it: a space in front of every stretch of text, spaces written as
// marks.
void set_llama_rules(const GgufMetadata& metadata, BpeSpec& spec) {
  spec.order = MergeOrder::kScore;
  spec.byte_fallback = true;
  spec.unknown = id_of(metadata, "tokenizer.ggml.unknown_token_id");
  spec.strip_leading_space = flag(metadata, "tokenizer.ggml.add_space_prefix").value_or(true);
  if (spec.strip_leading_space) spec.normalizer.push_back({TextStep::kPrepend, " ", ""});
  spec.normalizer.push_back({TextStep::kReplace, " ", std::string(kSpaceMark)});
  spec.decode_replace.emplace_back(kSpaceMark, " ");
}

}  // namespace

Result<BpeSpec> read_gguf_vocabulary(const GgufMetadata& metadata, std::optional<Splitter> splitter) {
  const std::string* model = metadata.find<std::string>("tokenizer.ggml.model");
  const bool llama = model != nullptr && *model == "llama";
  if (!llama && (model == nullptr || *model != "gpt2")) {
    return invalid_argument("the GGUF file's tokenizer model " +
                            in_quotes(model == nullptr ? "" : *model, 60) +
                            " is not supported, only llama and gpt2");
  }
  TRY(lists, lists_of(metadata));
  BpeSpec spec;
  spec.byte_level = !llama;
  if (llama) {
    if (splitter) return splitter_not_used();
    if (lists.scores == nullptr)
      return invalid_argument("the GGUF file has no scores (tokenizer.ggml.scores)");
    set_llama_rules(metadata, spec);
  }
  MergeList list;
  TRY_DO(add_typed(lists, spec, list));
  if (!llama) {
    TRY_DO(choose_splitters(metadata, splitter, spec));
    TRY_DO(read_merges(metadata, list, spec));
  }
  spec.special = {.bos = id_of(metadata, "tokenizer.ggml.bos_token_id"),
                  .eos = id_of(metadata, "tokenizer.ggml.eos_token_id"),
                  .pad = id_of(metadata, "tokenizer.ggml.padding_token_id"),
                  .add_bos = flag(metadata, "tokenizer.ggml.add_bos_token").value_or(llama),
                  .add_eos = flag(metadata, "tokenizer.ggml.add_eos_token").value_or(false)};
  use_flags_as_template(spec);
  return spec;
}

}  // namespace fulcrum
