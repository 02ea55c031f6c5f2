#include "policy/text/splitters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/core/rng.h"
#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string_view> words(Splitter splitter, std::string_view text) {
  std::vector<std::string_view> out;
  split_words(splitter, text, out);
  return out;
}

TEST(Gpt2Splitter, ContractionsAreLowerCaseAndOneSpaceGoesWithTheWord) {
  EXPECT_THAT(words(Splitter::kGpt2, "I'll I'LL  go 12345!!"),
              ElementsAre("I", "'ll", " I", "'", "LL", " ", " go", " 12345", "!!"));
  EXPECT_THAT(words(Splitter::kGpt2, "a\n\n b \t"), ElementsAre("a", "\n\n", " b", " \t"));
  EXPECT_THAT(words(Splitter::kGpt2, "a \n"), ElementsAre("a", " \n"));
  EXPECT_THAT(words(Splitter::kGpt2, ""), IsEmpty());
}

TEST(Cl100kSplitter, ContractionsHaveAnyCaseDigitsGoByThreeAndLineEndsStayWithMarks) {
  EXPECT_THAT(words(Splitter::kCl100k, "I'LL 12345"), ElementsAre("I", "'LL", " ", "123", "45"));
  EXPECT_THAT(words(Splitter::kCl100k, "(word) x.\r\n\n  y"),
              ElementsAre("(word", ")", " x", ".\r\n\n", " ", " y"));
  EXPECT_THAT(words(Splitter::kCl100k, "a  \n \n  b"), ElementsAre("a", "  \n \n", " ", " b"));
  EXPECT_THAT(words(Splitter::kCl100k, "\tcode"), ElementsAre("\tcode"));
  EXPECT_THAT(words(Splitter::kCl100k, "it\xC5\xBF '\xC5\xBF"), ElementsAre("it\xC5\xBF", " '", "\xC5\xBF"));
  EXPECT_THAT(words(Splitter::kCl100k, "x'\xC5\xBFy"),
              ElementsAre("x", "'\xC5\xBF", "y"));  // the long s folds to s
}

TEST(Qwen2Splitter, EveryDigitIsAWord) {
  EXPECT_THAT(words(Splitter::kQwen2, "x 123"), ElementsAre("x", " ", "1", "2", "3"));
}

TEST(DigitSplitters, CutNumbersOut) {
  EXPECT_THAT(words(Splitter::kSingleDigits, "ab12c"), ElementsAre("ab", "1", "2", "c"));
  EXPECT_THAT(words(Splitter::kDigitRuns, "ab12c½"), ElementsAre("ab", "12", "c", "½"));
}

TEST(SpaceMarkSplitter, BeginsAWordAtEveryMark) {
  EXPECT_THAT(words(Splitter::kBeforeSpaceMark, "x▁a▁▁b"), ElementsAre("x", "▁a", "▁", "▁b"));
}

TEST(Splitters, UnicodeClassesAreThoseOfTheStandard) {
  EXPECT_EQ(class_of(U'é'), CharClass::kLetter);
  EXPECT_EQ(class_of(U'天'), CharClass::kLetter);
  EXPECT_EQ(class_of(U'Ⅷ'), CharClass::kNumber);
  EXPECT_EQ(class_of(0x301), CharClass::kOther);   // a combining accent is a mark, not a letter
  EXPECT_EQ(class_of(0x3000), CharClass::kSpace);  // ideographic space
  EXPECT_EQ(class_of(0x85), CharClass::kSpace);
  EXPECT_EQ(class_of(0xFEFF), CharClass::kOther);
  EXPECT_EQ(class_of(kMalformed), CharClass::kOther);
}

TEST(Splitters, TheWordsTogetherAreTheTextWhateverItsBytes) {
  Rng rng(7, Purpose::kTest);
  const std::string_view alphabet = "ab 1'\n\r\t.\xC3\xA9\xE2\x96\x81\xFF\xF0\x9F";
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint64_t n = rng.below(30); n > 0; --n) text += alphabet[rng.below(alphabet.size())];
    for (const Splitter s : {Splitter::kGpt2, Splitter::kCl100k, Splitter::kQwen2, Splitter::kDigitRuns,
                             Splitter::kSingleDigits, Splitter::kBeforeSpaceMark}) {
      std::string joined;
      for (const auto word : words(s, text)) {
        EXPECT_FALSE(word.empty());
        joined += word;
      }
      EXPECT_EQ(joined, text);
    }
  }
}

TEST(Splitters, AreFoundByNameAndByPublishedPattern) {
  EXPECT_EQ(*splitter_by_name("llama3"), Splitter::kCl100k);
  EXPECT_EQ(splitter_by_name("gpt5").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(splitter_of_pattern(R"(\s+)"), std::nullopt);
  EXPECT_EQ(
      splitter_of_pattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"),
      Splitter::kGpt2);
}

TEST(Nfc, ComposesAndLeavesMalformedBytesAlone) {
  EXPECT_EQ(normalize_nfc("e\xCC\x81 x"), "\xC3\xA9 x");
  EXPECT_EQ(normalize_nfc("e\xFF\xCC\x81"), "e\xFF\xCC\x81");
  EXPECT_EQ(normalize_nfc("\xE1\x84\x80\xE1\x85\xA1"), "\xEA\xB0\x80");  // Hangul
  EXPECT_EQ(normalize_nfc(""), "");
}

}  // namespace
}  // namespace fulcrum
