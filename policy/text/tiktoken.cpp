// The ranks files of tiktoken (OpenAI's encodings, Llama-3's original tokenizer.model, Qwen's first
// tokenizer).
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/vocabulary_readers.h"

namespace fulcrum {
namespace {

// Special tokens stand in the authors' code, not in the files.
struct Encoding {
  std::string_view name;
  Splitter splitter;
  std::array<std::pair<std::string_view, TokenId>, 5> special;  // "" ends the list
};
constexpr std::array<Encoding, 4> kEncodings = {{
    {"cl100k_base",
     Splitter::kCl100k,
     {{{"<|endoftext|>", 100257},
       {"<|fim_prefix|>", 100258},
       {"<|fim_middle|>", 100259},
       {"<|fim_suffix|>", 100260},
       {"<|endofprompt|>", 100276}}}},
    {"r50k_base", Splitter::kGpt2, {{{"<|endoftext|>", 50256}}}},
    {"p50k_base", Splitter::kGpt2, {{{"<|endoftext|>", 50256}}}},
    {"gpt2", Splitter::kGpt2, {{{"<|endoftext|>", 50256}}}},
}};
constexpr TokenId kLlama3Reserved = 256;  // special ids after the ranks; the first two begin and end a text

int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int value = i >= text.size() - padding ? 0 : sextet(text[i]);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 == 3) {
      bytes += {static_cast<char>(bits >> 16 & 0xFF), static_cast<char>(bits >> 8 & 0xFF),
                static_cast<char>(bits & 0xFF)};
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

Status add_rank(std::string_view line, BpeSpec& spec) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return invalid_argument("no rank after the token");
  auto bytes = from_base64(line.substr(0, space));
  if (!bytes) return invalid_argument(in_quotes(line.substr(0, space), 40) + " is not base64");
  const std::string_view digits = line.substr(space + 1);
  int64_t rank = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return invalid_argument("the rank " + in_quotes(digits, 40) + " is not a number");
  }
  return set_piece(spec, rank, {std::move(*bytes), PieceKind::kNormal, -static_cast<float>(rank)});
}

Status add_llama3_special(BpeSpec& spec) {
  const auto first = static_cast<TokenId>(spec.pieces.size());
  for (TokenId i = 0; i < kLlama3Reserved; ++i) {
    const std::string content = i == 0   ? "<|begin_of_text|>"
                                : i == 1 ? "<|end_of_text|>"
                                         : "<|special_" + std::to_string(i) + "|>";
    TRY_DO(add_token(spec, {.content = content, .id = first + i, .special = true}));
  }
  spec.special = {.bos = first, .eos = first + 1, .add_bos = true};
  return ok_status();
}

}  // namespace

std::optional<Splitter> splitter_of_encoding(std::string_view name) {
  for (const Encoding& encoding : kEncodings) {
    if (encoding.name == name) return encoding.splitter;
  }
  return std::nullopt;
}

Result<BpeSpec> read_tiktoken(std::string_view text, std::string_view name, Splitter splitter) {
  BpeSpec spec;
  spec.byte_level = true;
  spec.order = MergeOrder::kScore;
  spec.whole_word_first = true;
  use_splitter(spec, splitter);
  int64_t line_number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) TRY_DO(add_rank(line, spec).with_context("line " + std::to_string(line_number)));
  }
  if (name == "llama3") TRY_DO(add_llama3_special(spec));
  for (const Encoding& encoding : kEncodings) {
    if (encoding.name != name) continue;
    for (const auto& [content, id] : encoding.special) {
      if (!content.empty())
        TRY_DO(add_token(spec, {.content = std::string(content), .id = id, .special = true}));
    }
    spec.special.eos = encoding.special[0].second;
  }
  return spec;
}

}  // namespace fulcrum
