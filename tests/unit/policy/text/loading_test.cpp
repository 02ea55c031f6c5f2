// Which file of a folder is read, what names the special tokens, what the hash holds, and streaming.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/core/rng.h"
#include "engine/core/text.h"
#include "tests/unit/policy/text/tiny_files.h"

namespace fulcrum {
namespace {

using namespace testing;  // the tiny files
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(LoadTokenizer, FollowsTheDocumentedOrder) {
  TokenizerFolder folder;
  folder.put("v.gguf", tiny_gguf_gpt2("gpt-2"));
  EXPECT_EQ((*folder.load())->vocab_size(), 8);
  folder.put("cl100k_base.tiktoken", tiny_tiktoken());
  EXPECT_EQ((*folder.load())->vocab_size(), 100277);
  folder.put("any.model", tiny_sentencepiece());
  EXPECT_EQ((*folder.load())->eos(), 2);
  folder.put("tokenizer.json", dump_json(tiny_marked()));
  EXPECT_EQ((*folder.load())->vocab_size(), 10);
}

TEST(LoadTokenizer, SaysWhatIsMissing) {
  TokenizerFolder folder;
  EXPECT_EQ(folder.load().status().code(), Code::kNotFound);
  EXPECT_THAT(folder.load().status().message(), HasSubstr("no tokenizer in"));
  EXPECT_EQ(folder.load("nowhere").status().code(), Code::kNotFound);
  folder.put("notes.txt", "x").put("vocab.json", "{\"a\": 0}");
  EXPECT_THAT(folder.load("notes.txt").status().message(), HasSubstr("not the name of a tokenizer file"));
  EXPECT_EQ(folder.load("vocab.json", {.splitter = "gpt2"}).status().code(), Code::kNotFound);
}

// width, inner, layers, heads, kv heads, vocabulary, positions; then zeros for the weights.
std::string tiny_llama2c_checkpoint() {
  constexpr std::array<int32_t, 7> kHeader = {8, 8, 1, 2, 2, 300, 4};
  std::string out(sizeof kHeader, '\0');
  std::memcpy(out.data(), kHeader.data(), sizeof kHeader);
  return out + std::string(sizeof(float) * (300 * 8 + 8 + 4 * 64 + 8 + 3 * 64 + 8 + 4 * 4), '\0');
}

TEST(LoadTokenizer, AModelsWeightsAreCalledWhatTheyAre) {
  TokenizerFolder folder;
  folder.put("model.bin", tiny_llama2c_checkpoint()).put("cut.bin", tiny_llama2c_checkpoint().substr(0, 99));
  const Status weights = folder.load("model.bin").status(), cut = folder.load("cut.bin").status();
  EXPECT_EQ(weights.code(), Code::kInvalidArgument);
  EXPECT_THAT(weights.message(), HasSubstr("model.bin': these are a model's weights; name its tokenizer"));
  EXPECT_THAT(cut.message(), HasSubstr("llama2.c tokenizer is cut short"));
}

TEST(LoadTokenizer, TheSmallFilesNameTheSpecialTokensInOrder) {
  TokenizerFolder folder;
  folder.put("tokenizer.json", dump_json(tiny_marked()));
  folder.put("config.json", R"({"eos_token_id": [1, 2], "pad_token_id": 0, "bos_token_id": null})");
  auto tokenizer = folder.load();
  EXPECT_EQ((*tokenizer)->eos(), 1);
  EXPECT_EQ((*tokenizer)->pad(), 0);
  EXPECT_EQ((*tokenizer)->bos(), std::nullopt);
  folder.put("special_tokens_map.json", R"({"eos_token": {"content": "</s>"}, "bos_token": "</s>"})");
  folder.put("tokenizer_config.json", R"({"bos_token": "<s>"})");
  tokenizer = folder.load();
  EXPECT_EQ((*tokenizer)->bos(), 1);
  EXPECT_EQ((*tokenizer)->eos(), 2);
  EXPECT_FALSE((*tokenizer)->is_special(0));  // padding, but also the unknown token, and that one shows
  folder.put("tokenizer_config.json", R"({"eos_token": "<gone>"})");
  EXPECT_THAT(folder.load().status().message(), HasSubstr("eos_token '<gone>' is not in the vocabulary"));
  folder.put("tokenizer_config.json", "{]");
  EXPECT_THAT(folder.load().status().message(), HasSubstr("tokenizer_config.json': line 1"));
}

TEST(ContentHash, IsEqualForEqualFilesAndDiffersWhereIdsMay) {
  TokenizerFolder one, two;
  one.put("tokenizer.json", dump_json(tiny_byte_level()));
  two.put("tokenizer.json", dump_json(tiny_byte_level()));
  const std::string hash = (*one.load())->content_hash();
  EXPECT_EQ(hash.size(), 64u);
  EXPECT_EQ((*two.load())->content_hash(), hash);
  EXPECT_NE((*two.load("", {.splitter = "qwen2"}))->content_hash(), hash);
  two.put("config.json", R"({"eos_token_id": 7})");
  EXPECT_NE((*two.load())->content_hash(), hash);
}

TEST(Files, AreThoseThatTransformersNeeds) {
  TokenizerFolder folder;
  folder.put("tokenizer.json", dump_json(tiny_marked()))
      .put("tokenizer_config.json", "{}")
      .put("special_tokens_map.json", "{}")
      .put("chat_template.jinja", "x")
      .put("config.json", "{}")
      .put("model.safetensors", "");
  const auto tokenizer = folder.load();
  EXPECT_THAT((*tokenizer)->files(),
              ElementsAre(folder.path("tokenizer.json"), folder.path("tokenizer_config.json"),
                          folder.path("special_tokens_map.json"), folder.path("chat_template.jinja")));
}

TEST(IncrementalDecoder, HoldsBackHalfCharactersAndGivesWhatDecodeGives) {
  TokenizerFolder folder;
  const auto tokenizer = folder.put("tok.bin", tiny_llama2c()).load("tok.bin");
  IncrementalDecoder stream(**tokenizer);
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(262), "a");
  EXPECT_EQ(stream.push(3 + 0xC3), "");
  EXPECT_EQ(stream.push(3 + 0xA9), "é");
  EXPECT_EQ(stream.push(3 + 0xF0), "");
  EXPECT_EQ(stream.push(3 + 0x9F), "");
  EXPECT_EQ(stream.push(260),
            "\xF0\x9F"
            "a");  // never to be completed
  EXPECT_EQ(stream.push(3 + 0xE2), "");
  EXPECT_EQ(stream.finish(), "\xE2");
  EXPECT_EQ(stream.finish(), "");
}

TEST(IncrementalDecoder, AnyIdsJoinToTheirDecodedText) {
  TokenizerFolder folder;
  folder.put("tok.bin", tiny_llama2c())
      .put("tokenizer.model", tiny_sentencepiece())
      .put("v.gguf", tiny_gguf_llama());
  for (const char* file : {"tok.bin", "tokenizer.model", "v.gguf"}) {
    const auto tokenizer = folder.load(file);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    Rng rng(11, Purpose::kTest);
    for (int round = 0; round < 300; ++round) {
      Ids ids(rng.below(12));
      for (TokenId& id : ids)
        id = static_cast<TokenId>(rng.below(static_cast<uint64_t>((*tokenizer)->vocab_size()) + 2)) - 1;
      IncrementalDecoder stream(**tokenizer);
      std::string joined;
      for (const TokenId id : ids) joined += stream.push(id);
      EXPECT_EQ(joined + stream.finish(), (*tokenizer)->decode(ids));
    }
  }
}

// Every format, cut and mutated at random: an error of one line, or a tokenizer that still works.
TEST(DamagedFiles, GiveOneLineOrAWorkingTokenizerButNeverACrash) {
  struct Format {
    const char* name;
    std::string bytes;
    std::string splitter;
  };
  std::string trie(1024, '\0');
  const std::string map = field(2, raw(uint32_t{1024}) + trie + std::string("x\0", 2));
  const std::vector<Format> formats = {
      {"tokenizer.json", dump_json(tiny_byte_level()), ""},
      {"tokenizer.json", dump_json(tiny_marked()), ""},
      {"tokenizer.model", tiny_sentencepiece(), ""},
      {"tokenizer.model", tiny_sentencepiece(map), ""},
      {"v.gguf", tiny_gguf_llama(), ""},
      {"v.gguf", tiny_gguf_gpt2("llama-bpe"), ""},
      {"tok.bin", tiny_llama2c(), ""},
      {"cl100k_base.tiktoken", tiny_tiktoken(), ""},
      {"tokenizer_config.json", tiny_character_table(), ""},
      {"vocab.json", dump_json(tiny_byte_level()["model"]["vocab"]), "gpt2"}};
  Rng rng(5, Purpose::kTest);
  int refused = 0, loaded = 0;
  for (const Format& format : formats) {
    TokenizerFolder folder;
    folder.put("merges.txt", "a b\nab c\nĠ ab\n");
    for (int round = 0; round < 120; ++round) {
      std::string bytes = format.bytes;
      if (rng.below(4) == 0) bytes.resize(rng.below(bytes.size()));
      for (uint64_t n = rng.below(4); n > 0 && !bytes.empty(); --n) {
        const size_t at = rng.below(bytes.size());
        const uint64_t how = rng.below(3);
        if (how == 0) bytes[at] = static_cast<char>(rng.below(256));
        if (how == 1) bytes.erase(at, rng.below(8));
        if (how == 2) bytes.insert(at, bytes.substr(rng.below(bytes.size()), rng.below(8)));
      }
      folder.put(format.name, bytes);
      const auto tokenizer = folder.load(format.name, {.splitter = format.splitter});
      if (!tokenizer.ok()) {
        ++refused;
        EXPECT_FALSE(tokenizer.status().message().empty());
        EXPECT_EQ(tokenizer.status().message().find('\n'), std::string::npos) << tokenizer.status().message();
        continue;
      }
      ++loaded;
      const auto ids = (*tokenizer)->encode("ab a é <s> 12\n", true);
      if (!ids.ok()) continue;
      for (const TokenId id : *ids) EXPECT_TRUE(id >= 0 && id < (*tokenizer)->vocab_size());
      (void)(*tokenizer)->decode(*ids);
    }
  }
  EXPECT_GT(refused, 250);
  EXPECT_GT(loaded, 250);
}

}  // namespace
}  // namespace fulcrum
