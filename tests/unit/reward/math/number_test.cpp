#include "reward/math/number.h"

#include <gtest/gtest.h>

#include <string>

namespace fulcrum {
namespace {

std::string parsed(std::string_view text) {
  const std::optional<Number> number = parse_number(text);
  return number ? number->value.get_str() + (number->percent ? "%" : "") : "none";
}

TEST(Number, IsReadExactly) {
  EXPECT_EQ(parsed("0.1"), "1/10");
  EXPECT_EQ(parsed(" -1,234.50 "), "-2469/2");
  EXPECT_EQ(parsed("1 000"), "1000");
  EXPECT_EQ(parsed("1000,99"), "100099/100");
  EXPECT_EQ(parsed("0,111"), "111/1000");
  EXPECT_EQ(parsed("1.5e-3"), "3/2000");
  EXPECT_EQ(parsed("6/8"), "3/4");
  EXPECT_EQ(parsed("-2 1/2"), "-5/2");
  EXPECT_EQ(parsed("12.5\\%"), "25/2%");
  EXPECT_EQ(parsed("0.333333333333333333333333333333"),
            "333333333333333333333333333333/1000000000000000000000000000000");
}

TEST(Number, WhatIsNotOneNumberIsNone) {
  for (const char* text :
       {"", "-", "1/0", "1,23,4", "1.2.3", "x", "12a", "1 2", "3//4", "1e99999999999999", "2 1/0"}) {
    EXPECT_EQ(parsed(text), "none") << text;
  }
  EXPECT_EQ(parsed(std::string(5000, '7')), "none");
}

TEST(Number, ALatexFractionIsOneNumber) {
  EXPECT_EQ(parsed("\\frac{1}{2}"), "1/2");
  EXPECT_EQ(parsed("-\\dfrac{ 10 }{-4}"), "5/2");
  EXPECT_EQ(parsed("\\tfrac12"), "1/2");
  EXPECT_EQ(parsed("\\frac1{72}"), "1/72");
  EXPECT_EQ(parsed("-2\\frac{1}{2}"), "-5/2");
  EXPECT_EQ(parsed("\\frac{1}{2}\\%"), "1/2%");
  for (const char* text : {"\\frac{1}{0}", "\\frac{1}", "\\frac{x}{2}", "\\frac{1}{2}3", "2\\frac{3}{2}",
                           "x\\frac{1}{2}", "\\sqrt{4}", "\\frac{\\frac{1}{2}}{3}", "\\frac{1}{2", "\\"})
    EXPECT_EQ(parsed(text), "none") << text;
}

TEST(Number, TheLastNumberOfATextIsNeverAPartOfACommand) {
  EXPECT_EQ(last_number("so $-\\frac{1}{2}$ it is"), "-\\frac{1}{2}");
  EXPECT_EQ(last_number("about 2\\frac{1}{2} cups"), "2\\frac{1}{2}");
  EXPECT_EQ(last_number("= 3\\sqrt[3]{2} cm"), "3\\sqrt[3]{2}");
  EXPECT_EQ(last_number("\\frac{\\sqrt{3}}{2}."), "\\frac{\\sqrt{3}}{2}");
  EXPECT_EQ(last_number("\\frac{1}{2} of 6 is 3"), "3");
  EXPECT_EQ(last_number("7 is \\frac{a}{b}"), "7");
  EXPECT_EQ(last_number("\\frac{7}{"), "7");  // cut: no command
}

TEST(Number, TheLastNumberOfAText) {
  EXPECT_EQ(last_number("He has 3 apples and 1,250.50 pears."), "1,250.50");
  EXPECT_EQ(last_number("so 16-3 it is"), "3");
  EXPECT_EQ(last_number("so it is -3"), "-3");
  EXPECT_EQ(last_number("it owes -$12"), "-$12");
  EXPECT_EQ(last_number("about 2 1/2 cups"), "2 1/2");
  EXPECT_EQ(last_number("a rate of 45% then"), "45%");
  EXPECT_EQ(last_number("room A12"), "");
  EXPECT_EQ(last_number("none"), "");
  EXPECT_EQ(last_number("in 2020 300 people"), "300");
  EXPECT_EQ(last_number("1.2.3"), "");
  EXPECT_EQ(last_number("7 apples, by version 1.2.3.4 of it."), "7");
  EXPECT_EQ(last_number("it is 1.2. 3.5 before"), "3.5");
}

TEST(LastNumber, IsThatOfTheLastLineWithOne) {
  EXPECT_EQ(last_number("1\n2 3\nsome\n\n"), "3");
  EXPECT_EQ(last_number("12\n-5"), "-5");
  EXPECT_EQ(last_number("2\n1/2"), "1/2");  // no mixed number over two lines
  EXPECT_EQ(last_number("7\nversion 1.2.3 of x2y"), "7");
  EXPECT_EQ(last_number("\\frac{1\n}{2} is a half"), "\\frac{1\n}{2}");
  EXPECT_EQ(last_number("no\nnumber\n"), "");
}

}  // namespace
}  // namespace fulcrum
