// Several boxes in one completion: when they are one answer, and that a policy gains nothing by naming many.
#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

bool right(std::string_view completion, const char* solution) {
  return judge({.name = "math"}, completion, solution).score == 1.0;
}

struct Pair {
  const char* completion;
  const char* solution;
};

TEST(Boxes, ThatConnectivesJoinAreOneList) {
  for (const Pair& p : std::initializer_list<Pair>{
           {"\\boxed{1} and \\boxed{2}", "1, 2"},
           {"so \\boxed{2}, \\boxed{3}, or \\boxed{1}.", "1, 2, 3"},
           {"$$\\boxed{(3, 3)} \\text{ for part (a) and } \\boxed{(1, 1)}$$", "$(3, 3), (1, 1)$"},
           {"It is \\boxed{(3,3)} for part (a) and \\boxed{(1,1)} for part (b).", "$(3, 3), (1, 1)$"},
           {"$\\boxed{3} \\text{ cm and } \\boxed{4} \\text{ cm}$", "3, 4"},
           {"$\\boxed{35 cm} ++++++ \\boxed{4}$", "${35 cm, 4}$"},
           {"Roots:\n- \\boxed{-1}\n- \\boxed{1}", "\\pm 1"},
           {"\\(\\boxed{1}\\) and \\(\\boxed{2}\\)", "1, 2"},
           {"\\[\\boxed{1} \\quad\\text{or}\\quad \\boxed{2}\\]", "\\{2, 1\\}"}}) {
    EXPECT_TRUE(right(p.completion, p.solution)) << p.completion << " is " << p.solution;
    EXPECT_TRUE(right(p.solution, p.completion)) << p.solution << " is " << p.completion;
  }
}

TEST(Boxes, KeepTheNamesBeforeThem) {
  for (const char* text :
       {"\\($y_1 = \\boxed{x+1} \\) and \\( y_2 = \\boxed{2x} \\) ", "y_2 = \\boxed{2x}, y_1=\\boxed{1+x}",
        "we get $y_{1} = \\boxed{x+1}$ and $y_{2} = \\boxed{2x}$."}) {
    EXPECT_TRUE(right(text, "$y_1 = x+1, y_2 = 2x$")) << text;
    EXPECT_FALSE(right(text, "$y_1 = 2x, y_2 = x+1$")) << text;
  }
  EXPECT_TRUE(right("$x = \\boxed{2}$ or $x = \\boxed{-3}$", "-3, 2"));
  EXPECT_TRUE(right("$x = \\boxed{2}$ and $y = \\boxed{3}$", "$(2, 3)$"));
  EXPECT_FALSE(right("$x = \\boxed{2}$ and $y = \\boxed{3}$", "$(3, 2)$"));
  EXPECT_TRUE(right("$\\alpha = \\boxed{1}$, $\\beta_{12} = \\boxed{2}$", "$\\beta_{12} = 2, \\alpha = 1$"));
  for (const char* wrong : {"$x = 6, y = 1$", "6, 1"})  // 2x is no name: the box is not an answer
    EXPECT_FALSE(right("$2x = \\boxed{6}$ and $y = \\boxed{1}$", wrong)) << wrong;
  EXPECT_TRUE(right("$2x = \\boxed{6}$, so $x = \\boxed{3}$", "3"));  // no list: "so" concludes
}

// What a policy would find under training: each of these holds the right value somewhere.
TEST(Boxes, NamingSeveralCandidatesEarnsNothingWhereOneIsAskedFor) {
  for (const char* hedge :
       {"\\boxed{1} and \\boxed{2}", "\\boxed{1} or \\boxed{2}", "\\boxed{2}, \\boxed{1}",
        "\\boxed{1} \\text{ or } \\boxed{2}", "$\\boxed{1} ++++ \\boxed{2}$", "\\boxed{1}\n- \\boxed{2}",
        "\\boxed{1} for x or \\boxed{2}", "x = \\boxed{1} or x = \\boxed{2}",
        "x = \\boxed{2} and y = \\boxed{1}", "\\boxed{1, 2}", "\\boxed{1 \\text{ or } 2}",
        "\\boxed{x = 1 \\text{ or } x = 2}", "\\boxed{1}\\boxed{2}\\boxed{3}", "\\boxed{2} and \\boxed{2}",
        "\\boxed{2}. Wait, that is wrong: \\boxed{1}", "\\boxed{2}? No. \\boxed{1}"}) {
    EXPECT_FALSE(right(hedge, "2")) << hedge;
    EXPECT_FALSE(right(hedge, "$x = 2$")) << hedge;
  }
}

TEST(Boxes, AListIsRightOnlyWithAllOfItAndNothingElse) {
  for (const char* text : {"\\boxed{1}", "\\boxed{2}", "\\boxed{1}, \\boxed{2} and \\boxed{3}",
                           "\\boxed{1} and \\boxed{3}", "\\boxed{1}, \\boxed{1}", "\\boxed{1}. \\boxed{2}",
                           "first \\boxed{1}, then we find \\boxed{2}", "$\\boxed{1} = \\boxed{2}$"}) {
    EXPECT_FALSE(right(text, "1, 2")) << text;
  }
  EXPECT_TRUE(right("\\boxed{7}? No: \\boxed{1} and \\boxed{2}", "1, 2"));  // withdrawn
}

TEST(Boxes, ACorrectionIsTheAnswerAndWhatItCorrectsIsNot) {
  const std::string corrected = "\\boxed{1}. Wait, I forgot one; it is \\boxed{2}";
  EXPECT_TRUE(right(corrected, "2"));
  EXPECT_FALSE(right(corrected, "1"));
  EXPECT_FALSE(right(corrected, "1, 2"));
}

TEST(Boxes, LeftOpenByTheReferenceHoldTheRestAndByACompletionNothing) {
  EXPECT_TRUE(right("W(x)=1orW(x)=-1", "\\\\boxed{W(n) = 1 \\\\text{ and } W(n) = -1"));
  EXPECT_FALSE(right("-1", "\\\\boxed{W(n) = 1 \\\\text{ and } W(n) = -1"));
  EXPECT_FALSE(right("\\boxed{5} so \\boxed{x = 1", "1"));
}

TEST(WorkedLines, AreNoFormulaOfTheirOwn) {
  for (const char* text : {"67 km\nA: 67", "8 hours x 14 km/hour = <<8*14=112>>112 km\n67 km\nA: 67",
                           "60 + 7 = 67\nx = 67", "5 cm\n67"}) {
    EXPECT_TRUE(right(text, "67")) << text;
    EXPECT_FALSE(right(text, "60")) << text;
  }
  EXPECT_TRUE(right("(1, 2),\n(3, 4)", "$(1,2), (3,4)$"));  // goes on over the line
  EXPECT_TRUE(right("x^2\n + 1", "$x^2+1$"));
}

TEST(TwoNumbers, AreComparedByValueAndNotAsText) {
  EXPECT_FALSE(right("2 1/2", "21/2"));
  EXPECT_TRUE(right("2 1/2", "5/2"));
  EXPECT_TRUE(right("1 000", "1000"));
}

}  // namespace
}  // namespace fulcrum::testing
