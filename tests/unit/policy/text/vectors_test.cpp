// Exact ids and texts of published tokenizers, from vectors that other libraries computed.
#include <gtest/gtest.h>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "policy/text/tokenizer.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using testing::test_data;

struct Case {
  const char* tokenizer;
  const char* vectors;
  const char* splitter = "";
  bool add_special = false;
  bool restores_text = true;  // decode(encode(text)) is the text (no normalizer, no unknowns)
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.tokenizer << " on " << c.vectors;
}

class Vectors : public ::testing::TestWithParam<Case> {};

std::vector<Json> read_vectors(const std::string& relative) {
  const auto text = read_file(test_data() / relative);
  EXPECT_TRUE(text.ok()) << text.status().message();
  const auto json = parse_json(text.ok() ? *text : "[]");
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? json->get<std::vector<Json>>() : std::vector<Json>();
}

TEST_P(Vectors, IdsAndTextsAreExact) {
  const Case& c = GetParam();
  FULCRUM_NEEDS_DATA(c.tokenizer);
  const auto tokenizer = load_tokenizer(test_data() / c.tokenizer, {.splitter = c.splitter});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const auto vectors = read_vectors(c.vectors);
  ASSERT_GE(vectors.size(), 40u);
  for (const Json& row : vectors) {
    const auto text = row["text"].get<std::string>();
    const auto ids = (*tokenizer)->encode(text, c.add_special);
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, row["ids"].get<std::vector<TokenId>>()) << in_quotes(text);
    const std::string decoded = (*tokenizer)->decode(*ids);
    if (row.contains("decoded")) {
      EXPECT_EQ(decoded, row["decoded"].get<std::string>());
    } else if (c.restores_text) {
      EXPECT_EQ(decoded, text);
    }
    IncrementalDecoder stream(**tokenizer);
    std::string joined;
    for (const TokenId id : *ids) {
      const std::string piece = stream.push(id);
      EXPECT_TRUE(is_valid_utf8(piece)) << in_quotes(piece);
      joined += piece;
    }
    EXPECT_EQ(joined + stream.finish(), decoded);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Published, Vectors,
    ::testing::Values(Case{"tok-gpt2", "tok-gpt2/vectors.json"},
                      Case{"tok-gpt2", "tok-gpt2/vectors_llamacpp.json"},
                      Case{"tok-cl100k", "tok-cl100k/vectors.json"},
                      Case{"tok-qwen2", "tok-qwen2/vectors.json", "qwen2", false, false},
                      Case{"tok-qwen2", "tok-qwen2/vectors_llamacpp.json", "qwen2"},
                      Case{"tok-phi3-gguf", "tok-phi3-gguf/vectors_llamacpp.json"},
                      Case{"tok-hf-json", "tok-hf-json/vectors.json", "", true},
                      Case{"tok-mistral/tokenizer.model.v1", "tok-mistral/vectors_v1.json"},
                      Case{"tok-mistral/mistral_instruct_tokenizer_240323.model.v3",
                           "tok-mistral/vectors_v3.json"},
                      Case{"tok-sentencepiece-unigram", "tok-sentencepiece-unigram/vectors.json"}));

TEST(TinyLlamaVocabulary, ModelAndBinGiveTheReferenceIds) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/reference.json");
  for (const char* file : {"tinyllama-260k", "tinyllama-260k/tok512.model", "tinyllama-260k/tok512.bin"}) {
    const auto tokenizer = load_tokenizer(test_data() / file);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    EXPECT_EQ((*tokenizer)->vocab_size(), 512);
    EXPECT_EQ((*tokenizer)->bos(), 1);
    EXPECT_EQ((*tokenizer)->eos(), 2);
    for (const Json& row : read_vectors("tinyllama-260k/reference.json")) {
      const auto text = row["text"].get<std::string>();
      const auto ids = (*tokenizer)->encode(text, true);
      ASSERT_TRUE(ids.ok()) << ids.status().message();
      EXPECT_EQ(*ids, row["ids"].get<std::vector<TokenId>>()) << file << " " << in_quotes(text);
      EXPECT_EQ((*tokenizer)->decode(*ids), text);
    }
  }
}

TEST(DigitCompletion, PromptSeparatorTruthAndEndAreTheReferenceIds) {
  FULCRUM_NEEDS_DATA("digit-completion/reference.json");
  const auto tokenizer = load_tokenizer(test_data() / "digit-completion");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->vocab_size(), 16);
  EXPECT_EQ((*tokenizer)->bos(), std::nullopt);
  EXPECT_EQ((*tokenizer)->eos(), 1);
  EXPECT_EQ((*tokenizer)->pad(), 2);
  for (const Json& row : read_vectors("digit-completion/reference.json")) {
    const auto text = row["text"].get<std::string>();  // prompt S truth E
    const size_t separator = text.find('S');
    auto ids = *(*tokenizer)->encode(text.substr(0, separator), true);
    const auto truth = *(*tokenizer)->encode(text.substr(separator + 1, text.size() - separator - 2), false);
    ids.insert(ids.end(), truth.begin(), truth.end());
    ids.push_back(*(*tokenizer)->eos());
    EXPECT_EQ(ids, row["ids"].get<std::vector<TokenId>>()) << text;
  }
  EXPECT_EQ(*(*tokenizer)->encode("S1x", false),
            (std::vector<TokenId>{3, 5, 3}));  // spelled specials are unknown
}

TEST(AddSpecial, PutsBosInFrontWhereTheModelHasOne) {
  FULCRUM_NEEDS_DATA("tok-mistral/tokenizer.model.v1");
  FULCRUM_NEEDS_DATA("tok-sentencepiece-unigram/test_model.model");
  const auto mistral = load_tokenizer(test_data() / "tok-mistral/tokenizer.model.v1");
  EXPECT_EQ(*(*mistral)->encode("Hello world", true), (std::vector<TokenId>{1, 22557, 1526}));
  EXPECT_EQ(*(*mistral)->encode("", true), (std::vector<TokenId>{1}));
  const auto unigram = load_tokenizer(test_data() / "tok-sentencepiece-unigram");
  EXPECT_EQ(*(*unigram)->encode("Hello world", true), (std::vector<TokenId>{1, 151, 88, 21, 887}));
  EXPECT_EQ((*unigram)->decode(std::vector<TokenId>{1, 151, 88, 21, 2}), "Hello");
}

}  // namespace
}  // namespace fulcrum
