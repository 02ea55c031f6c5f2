// Tokenizer files of every format, small enough to be read in the test that uses them, made without foreign
// data.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "policy/text/tokenizer.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {

// Pieces a b c Ġ(space) ab abc Ġab, ids from 0 in this order; then <|end|> 7 (special) and <tool> 8 (not
// special).
inline Json tiny_byte_level() {
  return *parse_json(R"({
    "added_tokens": [
      {"id": 7, "content": "<|end|>", "special": true, "normalized": false},
      {"id": 8, "content": "<tool>", "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": {"type": "ByteLevel"},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "unk_token": null, "vocab":
      {"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "abc": 5, "Ġab": 6}, "merges": ["a b", "ab c", "Ġ ab"]}})");
}

// <unk> 0, <s> 1, </s> 2, bytes of é 3 4, then ▁ a b ▁a ab, ids 5 to 9; BOS in front.
inline Json tiny_marked() {
  return *parse_json(R"({
    "added_tokens": [
      {"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true},
      {"id": 2, "content": "</s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab":
      {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "▁": 5, "a": 6, "b": 7, "▁a": 8, "ab": 9},
      "merges": [["▁", "a"], ["a", "b"]]}})");
}

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
inline std::string field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
inline std::string field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// A SentencePiece BPE model: <unk> 0, <s> 1, </s> 2, ▁ 3, a 4, b 5, ▁a 6, ab 7. `normalizer`: NormalizerSpec
// bytes.
inline std::string tiny_sentencepiece(std::string normalizer = "", std::string_view after = "") {
  struct Piece {
    const char* text;
    float score;
    uint64_t type;
  };
  std::string model;
  for (const Piece& p : {Piece{"<unk>", 0, 2},
                         {"<s>", 0, 3},
                         {"</s>", 0, 3},
                         {"▁", -3, 1},
                         {"a", -4, 1},
                         {"b", -5, 1},
                         {"▁a", -1, 1},
                         {"ab", -2, 1}}) {
    model += field(1, field(1, p.text) + "\x15" + raw(p.score) + field(3, p.type));
  }
  model += field(2, field(3, uint64_t{2}));                     // trainer: BPE
  normalizer += field(3, uint64_t{1}) + field(4, uint64_t{0});  // dummy prefix, spaces kept
  return model + field(3, normalizer) + std::string(after);
}

// GGUF pieces by hand.
class GgufWriter {
 public:
  GgufWriter& text(std::string_view key, std::string_view value) { return put(key, 8, string(value)); }
  GgufWriter& number(std::string_view key, uint32_t value) { return put(key, 4, raw(value)); }
  GgufWriter& flag(std::string_view key, bool value) {
    return put(key, 7, std::string(1, value ? '\1' : '\0'));
  }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string body = raw(uint32_t{8}) + raw(uint64_t{values.size()});
    for (const auto& v : values) body += string(v);
    return put(key, 9, body);
  }
  template <class T>
  GgufWriter& list(std::string_view key, uint32_t type, const std::vector<T>& values) {
    std::string body = raw(type) + raw(uint64_t{values.size()});
    for (const T v : values) body += raw(v);
    return put(key, 9, body);
  }
  GgufWriter& put(std::string_view key, uint32_t type, std::string_view body) {
    ++keys_;
    body_ += string(key) + raw(type) + std::string(body);
    return *this;
  }
  std::string file() const { return "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(keys_) + body_; }

 private:
  static std::string string(std::string_view s) { return raw(uint64_t{s.size()}) + std::string(s); }
  uint64_t keys_ = 0;
  std::string body_;
};

// The same pieces as tiny_marked, as llama.cpp's SentencePiece-like vocabulary; <user> 10 is user-defined.
inline std::string tiny_gguf_llama() {
  return GgufWriter()
      .text("tokenizer.ggml.model", "llama")
      .texts("tokenizer.ggml.tokens",
             {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "▁a", "ab", "<user>"})
      .list<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, 0, -3, -4, -5, -1, -2, 0})
      .list<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4})
      .number("tokenizer.ggml.bos_token_id", 1)
      .number("tokenizer.ggml.eos_token_id", 2)
      .number("tokenizer.ggml.unknown_token_id", 0)
      .flag("tokenizer.ggml.add_bos_token", true)
      .file();
}

inline std::string tiny_gguf_gpt2(std::string_view pre) {
  return GgufWriter()
      .text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", pre)
      .texts("tokenizer.ggml.tokens", {"a", "b", "c", "Ġ", "ab", "abc", "Ġab", "<|end|>"})
      .list<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 1, 1, 1, 1, 3})
      .texts("tokenizer.ggml.merges", {"a b", "ab c", "Ġ ab"})
      .number("tokenizer.ggml.eos_token_id", 7)
      .file();
}

// llama2.c: <unk>, BOS, EOS, 256 bytes, then " " 259, "a" 260, "b" 261, " a" 262, "ab" 263.
inline std::string tiny_llama2c() {
  std::string file = raw(int32_t{6});
  const auto piece = [&](std::string_view text, float score) {
    file += raw(score) + raw(static_cast<int32_t>(text.size())) + std::string(text);
  };
  for (const char* special : {"<unk>", "\n<s>\n", "\n</s>\n"}) piece(special, 0);
  for (int b = 0; b < 256; ++b) piece("<0xNN>", 0);
  piece(" ", -3), piece("a", -4), piece("b", -5), piece(" a", -1), piece("ab", -2);
  return file;
}

// Base64 of a, b, c, space, ab, abc, " ab" with ranks 0 to 6.
inline std::string tiny_tiktoken() { return "YQ== 0\nYg== 1\nYw== 2\nIA== 3\nYWI= 4\nYWJj 5\nIGFi 6\n"; }

inline std::string tiny_character_table() {
  return R"({"char_ords": [48, 49, 233], "chat_template": "{{ x }}{% if add_generation_prompt %}{{ sep_token }}{% endif %}"})";
}

// A folder of files that a test fills and loads.
class TokenizerFolder {
 public:
  TokenizerFolder& put(const std::string& name, std::string_view bytes) {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return *this;
  }
  Path path(const std::string& name = "") const {
    return name.empty() ? folder_.path() : folder_.path() / name;
  }
  Result<std::shared_ptr<const Tokenizer>> load(const std::string& name = "",
                                                const TokenizerOptions& options = {}) const {
    return load_tokenizer(path(name), options);
  }

 private:
  TempFolder folder_;
};

using Ids = std::vector<TokenId>;

// Encodes, or fails the test and gives nothing.
inline Ids encode(const Result<std::shared_ptr<const Tokenizer>>& tokenizer, std::string_view text,
                  bool add_special = false) {
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return {};
  }
  const auto ids = (*tokenizer)->encode(text, add_special);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return ids.ok() ? *ids : Ids{};
}

}  // namespace fulcrum::testing
