// What each file format promises, on tiny files: which ids, which specials, which errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/text/gguf_metadata.h"
#include "policy/text/make_tokenizer.h"
#include "policy/text/unicode.h"
#include "policy/weights/llama_tokenizer_config.h"
#include "tests/unit/policy/text/tiny_files.h"

namespace fulcrum {
namespace {

using namespace testing;  // the tiny files
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Result<std::shared_ptr<const Tokenizer>> load_json(const Json& json, const TokenizerOptions& options = {}) {
  return TokenizerFolder().put("tokenizer.json", dump_json(json)).load("", options);
}

std::string error_of(const Json& json) { return load_json(json).status().message(); }

TEST(ByteLevelJson, MergesByRankInsideWords) {
  const auto tokenizer = load_json(tiny_byte_level());
  EXPECT_EQ(encode(tokenizer, "abc ab"), (Ids{5, 6}));
  EXPECT_EQ(encode(tokenizer, "aabb cab"), (Ids{0, 4, 1, 3, 2, 4}));
  EXPECT_EQ(encode(tokenizer, ""), (Ids{}));
  EXPECT_EQ((*tokenizer)->decode(Ids{5, 6, 3, 0}), "abc ab a");
}

TEST(ByteLevelJson, SpecialSpellingsArePlainTextAndOtherAddedTokensAreFound) {
  const auto tokenizer = load_json(tiny_byte_level());
  EXPECT_EQ(encode(tokenizer, "a<tool>b"), (Ids{0, 8, 1}));
  const auto spelled = (*tokenizer)->encode("<|end|>", false);
  EXPECT_THAT(spelled.status().message(),
              HasSubstr("no piece for '<'"));  // not id 7: its letters have no pieces here
  EXPECT_TRUE((*tokenizer)->is_special(7));
  EXPECT_FALSE((*tokenizer)->is_special(8));
  EXPECT_EQ((*tokenizer)->decode(Ids{0, 7, 8, 1, 99, -5}), "a<tool>b");
}

TEST(ByteLevelJson, AnUnknownPatternIsAnErrorThatNamesTheOptionAndTheOptionHelps) {
  Json json = tiny_byte_level();
  json["pre_tokenizer"] = *parse_json(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  EXPECT_THAT(error_of(json), HasSubstr("--splitter gpt2|cl100k|llama3|qwen2, in a job 'splitter'"));
  EXPECT_EQ(encode(load_json(json, {.splitter = "gpt2"}), "abc ab"), (Ids{5, 6}));
  EXPECT_THAT(load_json(json, {.splitter = "x"}).status().message(), HasSubstr("no splitter is called 'x'"));
}

TEST(ByteLevelJson, WholeWordsComeFirstWhereTheModelIgnoresMerges) {
  Json json = tiny_byte_level();
  json["model"]["merges"] = Json::array({"a b"});
  EXPECT_EQ(encode(load_json(json), "abc"), (Ids{4, 2}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(encode(load_json(json), "abc"), (Ids{5}));
}

TEST(ByteLevelJson, APrefixSpaceIsAddedOnce) {
  Json json = tiny_byte_level();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(encode(load_json(json), "ab"), (Ids{6}));
  EXPECT_EQ(encode(load_json(json), " ab"), (Ids{6}));
}

TEST(ByteLevelJson, MillionsOfEqualLettersTakeNoQuadraticTime) {
  const auto tokenizer = load_json(tiny_byte_level());
  EXPECT_THAT(encode(tokenizer, std::string(1'000'000, 'a')), SizeIs(1'000'000));
  std::string word;
  for (int i = 0; i < 300'000; ++i) word += "ab";
  EXPECT_EQ(encode(tokenizer, word), Ids(300'000, 4));
}

TEST(AddedTokens, StripSpacesAndStandAloneAsTheyAreFlagged) {
  Json json = tiny_byte_level();
  json["added_tokens"][1] = {
      {"id", 8}, {"content", "<tool>"}, {"special", false}, {"lstrip", true}, {"rstrip", true}};
  EXPECT_EQ(encode(load_json(json), "a \xE3\x80\x80<tool>  b"), (Ids{0, 8, 1}));
  json["added_tokens"][1] = {{"id", 8}, {"content", "cc"}, {"special", false}, {"single_word", true}};
  EXPECT_EQ(encode(load_json(json), "cc ccc"), (Ids{8, 3, 2, 2, 2}));
  EXPECT_EQ(encode(load_json(json), "cc cc"), (Ids{8, 3, 8}));
}

TEST(AddedTokens, APieceOfTheVocabularyMayBeListedAgain) {
  Json json = tiny_byte_level();
  json["added_tokens"] = *parse_json(R"([{"id": 1, "content": "b", "single_word": true},
                                         {"id": 2, "content": "c", "special": true}])");
  const auto tokenizer = load_json(json);
  EXPECT_EQ(encode(tokenizer, "ab b c"), (Ids{4, 3, 1, 3, 2}));
  EXPECT_EQ((*tokenizer)->decode(Ids{4, 3, 1, 3, 2}), "ab b ");
  json["added_tokens"] = *parse_json(R"([{"id": 2, "content": "x"}])");
  EXPECT_THAT(error_of(json), HasSubstr("id 2 belongs to both 'c' and 'x'"));
}

TEST(AddedTokens, TheLongestAtAPlaceWins) {
  Json json = tiny_byte_level();
  json["added_tokens"] = *parse_json(R"([{"id": 8, "content": "cc"}, {"id": 9, "content": "cccc"}])");
  EXPECT_EQ(encode(load_json(json), "ccccccc"), (Ids{9, 8, 2}));
}

TEST(MarkedJson, PrependsReplacesFallsBackToBytesAndFusesUnknowns) {
  const auto tokenizer = load_json(tiny_marked());
  EXPECT_EQ(encode(tokenizer, "ab a", true), (Ids{1, 8, 7, 8}));
  EXPECT_EQ(encode(tokenizer, "é"), (Ids{5, 3, 4}));
  EXPECT_EQ(encode(tokenizer, "xyza"), (Ids{5, 0, 6}));
  EXPECT_EQ(encode(tokenizer, "</s>a"), (Ids{5, 0, 6}));  // the spelling of a special token is text
  EXPECT_EQ((*tokenizer)->decode(Ids{1, 8, 7, 8, 2}), "ab a");
  EXPECT_EQ((*tokenizer)->decode(Ids{5, 5, 6}), " a");
  EXPECT_EQ((*tokenizer)->decode(Ids{0, 3, 4}), "<unk>é");
  EXPECT_EQ((*tokenizer)->eos(), 2);  // by its usual name, since no file names it
}

TEST(MarkedJson, MetaspaceIsTheSameInItsNewerForm) {
  Json json = tiny_marked();
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] =
      *parse_json(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})");
  EXPECT_EQ(encode(load_json(json), "ab a", true), (Ids{1, 8, 7, 8}));
  EXPECT_EQ(encode(load_json(json), "▁a"), (Ids{8}));  // a mark that is there is not put again
}

TEST(TokenizerJson, ReplacementsThatMultiplyAreRefused) {
  const Json doubles = *parse_json(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})");
  Json json = tiny_marked();
  json["normalizer"]["normalizers"] = Json(Json::array_t(60, doubles));
  EXPECT_THAT(error_of(json), HasSubstr("more than 64 times longer"));
  json = tiny_marked();
  auto& decoders = json["decoder"]["decoders"];
  decoders.insert(decoders.begin(), 60, doubles);
  EXPECT_THAT(error_of(json), HasSubstr("more than 64 times longer"));
}

TEST(TokenizerJson, WhatWouldChangeTheIdsUnnoticedIsRefused) {
  Json json = tiny_byte_level();
  json["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_THAT(error_of(json), HasSubstr("normalizer of type 'Lowercase' is not supported"));
  json = tiny_byte_level();
  json["model"]["type"] = "Unigram";
  EXPECT_THAT(error_of(json), HasSubstr("only BPE"));
  json = tiny_byte_level();
  json["model"]["dropout"] = 0.1;
  EXPECT_THAT(error_of(json), HasSubstr("dropout"));
  json = tiny_byte_level();
  json["model"]["merges"].push_back("q q");
  EXPECT_THAT(error_of(json), HasSubstr("names a piece that is not in the vocabulary"));
  json = tiny_byte_level();
  json["model"]["vocab"]["z"] = 2;
  EXPECT_THAT(error_of(json), HasSubstr("id 2 belongs to both"));
  json = tiny_byte_level();
  json["model"]["vocab"]["z"] = 1 << 30;
  EXPECT_THAT(error_of(json), HasSubstr("outside 0 to"));
  json = tiny_marked();
  json["post_processor"]["special_tokens"]["<s>"]["ids"] = Json::array({77});
  EXPECT_THAT(error_of(json), HasSubstr("id 77, outside the vocabulary"));
}

TEST(MergesFiles, NeedASplitterUnlessTheirNamesOrTheConfigSayIt) {
  const std::string vocab = dump_json(tiny_byte_level()["model"]["vocab"]),
                    merges = "#version: 0.2\na b\r\nab c\nĠ ab\n";
  TokenizerFolder older;
  older.put("encoder.json", vocab).put("vocab.bpe", merges);
  EXPECT_EQ(encode(older.load(), "abc ab"), (Ids{5, 6}));
  TokenizerFolder newer;
  newer.put("vocab.json", vocab).put("merges.txt", merges);
  EXPECT_THAT(newer.load().status().message(), HasSubstr("--splitter"));
  EXPECT_EQ(encode(newer.load("", {.splitter = "qwen2"}), "abc ab"), (Ids{5, 6}));
  newer.put("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer", "eos_token": "abc",
      "added_tokens_decoder": {"7": {"content": "<x>", "special": true}}})");
  const auto tokenizer = newer.load();
  EXPECT_EQ(encode(tokenizer, "abc ab"), (Ids{5, 6}));
  EXPECT_EQ((*tokenizer)->eos(), 5);
  EXPECT_EQ((*tokenizer)->vocab_size(), 8);
  newer.put("merges.txt", "a b\nabc\n");
  EXPECT_THAT(newer.load().status().message(), HasSubstr("line 2 of the merges"));
}

TEST(Tiktoken, RanksAreIdsAndTheFileNameSaysTheRest) {
  TokenizerFolder folder;
  folder.put("mine.tiktoken", tiny_tiktoken()).put("cl100k_base.tiktoken", tiny_tiktoken());
  EXPECT_THAT(folder.load("mine.tiktoken").status().message(), HasSubstr("--splitter"));
  EXPECT_EQ(encode(folder.load("mine.tiktoken", {.splitter = "gpt2"}), "abc ab"), (Ids{5, 6}));
  const auto named = folder.load("cl100k_base.tiktoken");
  EXPECT_EQ((*named)->eos(), 100257);
  EXPECT_TRUE((*named)->is_special(100276));
  const auto llama = folder.load("mine.tiktoken", {.splitter = "llama3"});
  EXPECT_EQ(encode(llama, "ab", true), (Ids{7, 4}));
  EXPECT_EQ((*llama)->eos(), 8);
  EXPECT_EQ((*llama)->vocab_size(), 7 + 256);
  folder.put("bad.tiktoken", "YQ== 0\nY?== 1\n");
  EXPECT_THAT(folder.load("bad.tiktoken", {.splitter = "gpt2"}).status().message(),
              HasSubstr("line 2: 'Y?==' is not base64"));
}

TEST(Tiktoken, ATokenizerModelOfRanksIsKnownByItsContent) {
  TokenizerFolder folder;
  folder.put("tokenizer.model", tiny_tiktoken());
  EXPECT_EQ(encode(folder.load("", {.splitter = "llama3"}), "abc", true), (Ids{7, 5}));
}

TEST(SentencePiece, EncodesDecodesAndPutsBos) {
  TokenizerFolder folder;
  folder.put("tokenizer.model", tiny_sentencepiece());
  const auto tokenizer = folder.load();
  EXPECT_EQ(encode(tokenizer, "ab a", true), (Ids{1, 6, 5, 6}));
  EXPECT_EQ(encode(tokenizer, "<s>"), (Ids{3, 0}));  // a special token's spelling is text
  EXPECT_EQ((*tokenizer)->decode(Ids{1, 6, 5, 6, 2, 400}), "ab a");
  EXPECT_EQ((*tokenizer)->decode(Ids{0}), " \xE2\x81\x87 ");
  EXPECT_EQ((*tokenizer)->encode("\xFF", false).status().code(), Code::kInvalidArgument);
  EXPECT_THAT(folder.load("", {.splitter = "gpt2"}).status().message(),
              HasSubstr("(--splitter, in a job 'splitter') is for byte-level"));
}

TEST(SentencePiece, TheConfigThatIsWrittenBesideItChangesNothing) {
  TokenizerFolder alone, written;
  alone.put("tokenizer.model", tiny_sentencepiece());
  written.put("tokenizer.model", tiny_sentencepiece())
      .put("tokenizer_config.json", std::string(kLlamaTokenizerConfig));
  EXPECT_EQ((*alone.load())->content_hash(), (*written.load())->content_hash());
  EXPECT_EQ(encode(written.load(), "ab a", true), (Ids{1, 6, 5, 6}));
}

TEST(SentencePiece, TheConfigBesideItHasTheLastWord) {
  TokenizerFolder folder;
  folder.put("tokenizer.model", tiny_sentencepiece())
      .put("tokenizer_config.json",
           R"({"add_bos_token": false, "add_eos_token": true, "pad_token": "<pad>"})")
      .put("added_tokens.json", R"({"<pad>": 8})");
  const auto tokenizer = folder.load();
  EXPECT_EQ(encode(tokenizer, "ab", true), (Ids{6, 5, 2}));
  EXPECT_EQ((*tokenizer)->pad(), 8);
  EXPECT_EQ((*tokenizer)->vocab_size(), 9);
  folder.put("added_tokens.json", R"({"<pad>": 4})");
  EXPECT_THAT(folder.load().status().message(),
              HasSubstr("'<pad>' in the config but 'a' in the SentencePiece model"));
}

TEST(SentencePiece, ACharacterMapThatLeadsOutsideItselfIsRefused) {
  std::string trie(1024, '\0');
  const auto with_root = [&](uint32_t unit) {
    std::memcpy(trie.data(), &unit, sizeof(unit));
    return tiny_sentencepiece(field(2, raw(uint32_t{1024}) + trie + std::string(1, '\0')));
  };
  TokenizerFolder folder;
  EXPECT_EQ(encode(folder.put("tokenizer.model", with_root(0)).load(), "ab"), (Ids{6, 5}));
  folder.put("tokenizer.model", with_root(uint32_t{0x300} << 10));
  EXPECT_THAT(folder.load().status().message(),
              HasSubstr("character map of the SentencePiece model is damaged"));
}

TEST(GgufLlama, FollowsScoresMarksBytesAndUserDefinedTokens) {
  TokenizerFolder folder;
  const auto tokenizer = folder.put("v.gguf", tiny_gguf_llama()).load();
  EXPECT_EQ(encode(tokenizer, "ab a", true), (Ids{1, 8, 7, 8}));
  EXPECT_EQ(encode(tokenizer, "é"), (Ids{5, 3, 4}));
  EXPECT_EQ(encode(tokenizer, "a<user>b<s>"), (Ids{8, 10, 5, 7, 0, 0, 0}));
  EXPECT_EQ((*tokenizer)->eos(), 2);
  EXPECT_EQ((*tokenizer)->decode(Ids{1, 8, 7, 8, 2}), "ab a");
  EXPECT_THAT((*tokenizer)->files(), SizeIs(1));
}

TEST(GgufGpt2, FollowsMergesAndItsPreTokenizerName) {
  TokenizerFolder folder;
  EXPECT_EQ(encode(folder.put("v.gguf", tiny_gguf_gpt2("gpt-2")).load(), "abc ab"), (Ids{5, 6}));
  EXPECT_THAT(folder.put("v.gguf", tiny_gguf_gpt2("what")).load().status().message(),
              HasSubstr("--splitter"));
  EXPECT_EQ(encode(folder.load("", {.splitter = "gpt2"}), "abc ab"), (Ids{5, 6}));
}

TEST(GgufMetadata, ReadsEveryTypeAndRefusesImpossibleLengths) {
  const auto read = [](const std::string& file) {
    return read_gguf_metadata(std::as_bytes(std::span(file)));
  };
  const auto metadata = read(GgufWriter()
                                 .text("t", "x")
                                 .number("n", 7)
                                 .flag("f", true)
                                 .put("d", 12, raw(0.5))
                                 .put("i", 1, "\xFE")
                                 .list<uint16_t>("l", 2, {1, 65535})
                                 .file());
  ASSERT_TRUE(metadata.ok()) << metadata.status().message();
  EXPECT_EQ(*metadata->find<std::string>("t"), "x");
  EXPECT_EQ(*metadata->find<int64_t>("n"), 7);
  EXPECT_EQ(*metadata->find<int64_t>("i"), -2);
  EXPECT_EQ(*metadata->find<double>("d"), 0.5);
  EXPECT_TRUE(*metadata->find<bool>("f"));
  EXPECT_EQ(*metadata->find<std::vector<int64_t>>("l"), (std::vector<int64_t>{1, 65535}));
  EXPECT_EQ(metadata->find<double>("n"), nullptr);
  EXPECT_THAT(read(GgufWriter().put("l", 9, raw(uint32_t{4}) + raw(~uint64_t{0})).file()).status().message(),
              HasSubstr("key 'l': the GGUF file ends"));
  EXPECT_THAT(read(GgufWriter().put("t", 8, raw(~uint64_t{0})).file()).status().message(),
              HasSubstr("ends in the middle"));
  EXPECT_THAT(read(GgufWriter().put("u", 10, raw(~uint64_t{0})).file()).status().message(),
              HasSubstr("above 2^63"));
  EXPECT_THAT(read(GgufWriter().put("q", 99, "").file()).status().message(), HasSubstr("unknown type 99"));
  EXPECT_THAT(read(GgufWriter().put("a", 9, raw(uint32_t{9}) + raw(uint64_t{1})).file()).status().message(),
              HasSubstr("array of arrays"));
  EXPECT_THAT(read(GgufWriter().number("n", 1).number("n", 2).file()).status().message(),
              HasSubstr("'n' twice"));
  EXPECT_THAT(read("GGML").status().message(), HasSubstr("not a GGUF file"));
}

TEST(Llama2c, KeepsSpacesAndFallsBackToBytes) {
  TokenizerFolder folder;
  const auto tokenizer = folder.put("tok.bin", tiny_llama2c()).load("tok.bin");
  EXPECT_EQ(encode(tokenizer, "ab  a", true), (Ids{1, 262, 261, 259, 262}));
  EXPECT_EQ(encode(tokenizer, "é"), (Ids{259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ((*tokenizer)->decode(Ids{1, 262, 261, 259, 262}), "ab  a");
}

TEST(CharacterTable, SeparatesAndMarksUnknowns) {
  TokenizerFolder folder;
  const auto tokenizer = folder.put("tokenizer_config.json", tiny_character_table()).load();
  EXPECT_EQ(encode(tokenizer, "01é", true), (Ids{4, 5, 6, 0}));
  EXPECT_EQ(encode(tokenizer, "0x"), (Ids{4, 3}));
  EXPECT_EQ((*tokenizer)->decode(Ids{4, 0, 6, 3, 1, 2}), "0éU");
  EXPECT_EQ((*tokenizer)->eos(), 1);
  folder.put("tokenizer_config.json", R"({"char_ords": [48, 48]})");
  EXPECT_THAT(folder.load().status().message(), HasSubstr("code point 48 twice"));
}

TEST(MadeTokenizer, IsReadBackWithOneTokenACharacter) {
  TokenizerFolder folder;
  ASSERT_TRUE(write_character_tokenizer(folder.path(), "ab+é=\n ").ok());
  const auto tokenizer = folder.load();
  EXPECT_EQ(encode(tokenizer, "a+é= \nb", true), (Ids{1, 4, 6, 7, 8, 10, 9, 5}));
  EXPECT_EQ(encode(tokenizer, "zz<eos>"), (Ids{3, 3, 3, 3, 3, 3, 3}));
  EXPECT_EQ((*tokenizer)->decode(Ids{1, 4, 6, 7, 8, 10, 9, 5, 2, 0}), "a+é= \nb");
  EXPECT_EQ((*tokenizer)->bos(), 1);
  EXPECT_EQ((*tokenizer)->eos(), 2);
  EXPECT_EQ((*tokenizer)->pad(), 0);
  EXPECT_EQ((*tokenizer)->vocab_size(), 11);
  EXPECT_EQ((*tokenizer)->files(),
            (std::vector<Path>{folder.path("tokenizer.json"), folder.path("tokenizer_config.json")}));
  EXPECT_THAT(make_character_tokenizer_json("aa").status().message(), HasSubstr("'a' is there twice"));
  EXPECT_EQ(make_character_tokenizer_json("\xFF").status().code(), Code::kInvalidArgument);
}

TEST(MadeTokenizer, AMillionCharactersTakeNoQuadraticTime) {
  std::string characters;
  constexpr char32_t kFirst = 0x10000, kCount = 1'000'000;
  for (char32_t point = kFirst; point < kFirst + kCount; ++point) characters += to_utf8(point);
  TokenizerFolder folder;
  ASSERT_TRUE(write_character_tokenizer(folder.path(), characters).ok());
  const auto tokenizer = folder.load();
  EXPECT_EQ((*tokenizer)->vocab_size(), 4 + int64_t{kCount});
  EXPECT_EQ(encode(tokenizer, to_utf8(kFirst + kCount - 1) + to_utf8(kFirst)), (Ids{3 + kCount, 4}));
  characters += to_utf8(kFirst + kCount - 1);
  EXPECT_THAT(make_character_tokenizer_json(characters).status().message(), HasSubstr("is there twice"));
}

}  // namespace
}  // namespace fulcrum
