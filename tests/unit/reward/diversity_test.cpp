#include "reward/diversity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fulcrum {
namespace {

using Texts = std::vector<std::string>;

TEST(Diversity, DistinctNIsDifferentOverAllNgrams) {
  EXPECT_DOUBLE_EQ(*distinct_n(Texts{"a b a", "b c"}, 1), 3.0 / 5.0);
  EXPECT_DOUBLE_EQ(*distinct_n(Texts{"a b a", "b c"}, 2), 1.0);
  EXPECT_DOUBLE_EQ(*distinct_n(Texts{"a b", "a  b"}, 2), 0.5);  // blanks do not count
}

TEST(Diversity, TextsWithoutAnNgramHaveNoDistinctN) {
  EXPECT_FALSE(distinct_n(Texts{}, 1).has_value());
  EXPECT_FALSE(distinct_n(Texts{"a", ""}, 2).has_value());
}

TEST(Diversity, EqualTextsHaveSelfBleuOne) {
  EXPECT_NEAR(*self_bleu(Texts{"a b c d e", "a b c d e", "a b c d e"}), 1.0, 1e-12);
}

TEST(Diversity, SelfBleuOfTwoTextsIsTheirBleuByHand) {
  // 1-grams 4/5, 2-grams 3/4, 3-grams 2/3, 4-grams 1/2, both ways; equal lengths, so no brevity penalty.
  const double expected = std::pow(4.0 / 5 * 3 / 4 * 2 / 3 * 1 / 2, 0.25);
  EXPECT_NEAR(*self_bleu(Texts{"a b c d e", "a b c d f"}), expected, 1e-12);
}

TEST(Diversity, CountsAreClippedByTheOtherTexts) {
  // "a a" against "a b": one of its two words is matched, no pair of words; BLEU of the two shortened orders.
  const double first = std::pow(0.5, 0.25) * std::pow(0.5, 0.25), second = first;
  EXPECT_NEAR(*self_bleu(Texts{"a a", "a b"}), (first + second) / 2, 1e-12);
}

TEST(Diversity, AShortTextPaysForItsBrevity) {
  const double alone = *self_bleu(Texts{"a b c d", "a b c d e f g h"});
  // The short one matches wholly and pays exp(1 - 8/4); the long one matches 4/8, 3/7, 2/6, 1/5.
  const double expected = (std::exp(-1.0) + std::pow(4.0 / 8 * 3 / 7 * 2 / 6 * 1 / 5, 0.25)) / 2;
  EXPECT_NEAR(alone, expected, 1e-12);
}

TEST(Diversity, MoreVariedTextsHaveLessSelfBleu) {
  const Texts alike{"the cat sat here", "the cat sat there", "the cat sat now"};
  const Texts varied{"the cat sat here", "a dog ran away", "no bird sings today"};
  EXPECT_LT(*self_bleu(varied), *self_bleu(alike));
  EXPECT_GE(*self_bleu(varied), 0);
}

TEST(Diversity, FewerThanTwoTextsHaveNoSelfBleu) {
  EXPECT_FALSE(self_bleu(Texts{}).has_value());
  EXPECT_FALSE(self_bleu(Texts{"a"}).has_value());
  EXPECT_EQ(*self_bleu(Texts{"", ""}), 0);
}

}  // namespace
}  // namespace fulcrum
