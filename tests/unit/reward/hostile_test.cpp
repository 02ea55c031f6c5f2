// Completions are written by a model that is paid by the judge: whatever they hold, a verdict comes soon.
#include <chrono>

#include "engine/core/rng.h"
#include "engine/core/text.h"
#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

std::string repeat(std::string_view part, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += part;
  return out;
}

std::vector<std::unique_ptr<RewardFunction>> every_verifier() {
  std::vector<std::unique_ptr<RewardFunction>> all;
  for (const char* name : {"exact", "regex", "numeric", "math", "length", "format", "prefix_match"}) {
    all.push_back(
        reward(with_its_keys({.name = name, .pattern = "(a|b)*c", .format = "boxed", .target = 10})));
  }
  for (const char* place : {"boxed", "after_marker", "answer_tag", "last_number"}) {
    all.push_back(reward({.name = "math", .extract = place}));
  }
  return all;
}

// The steps and sizes bound the work; the time only has to be far from hanging, also under a sanitizer.
void expect_soon(const RewardFunction& judge_of, const std::string& completion, const Json& solution) {
  const auto begin = std::chrono::steady_clock::now();
  const Verdict v = judge(judge_of, completion, solution);
  EXPECT_LT(seconds(std::chrono::steady_clock::now() - begin), 5.0)
      << judge_of.name() << " on " << printable(completion, 60);
  EXPECT_EQ(v.score.has_value(), v.kind == VerdictKind::kScored || v.kind == VerdictKind::kNoAnswer);
  EXPECT_EQ(printable(v.reason, 10000), v.reason) << "a reason must be safe to print";
}

TEST(Hostile, AMegabyteOfAnythingIsJudgedSoon) {
  constexpr size_t kMega = 1 << 20;
  const auto judges = every_verifier();
  for (const char* part :
       {"(", "$",  "$$ ",    "\\(",  "\\[ $",    "\\boxed{", "\\boxed{1}", "\\boxed{1},", "{",
        "9", "1,", "1,000,", ".1",   "-",        "####",     "<answer>",   "answer is ",  "\\frac",
        "^", "!",  "\\",     "\xFF", "\xE2\x88", "1/",       "a b ",       "\\pm ",       "$1$ and "}) {
    const std::string text = repeat(part, kMega);
    for (const auto& function : judges) expect_soon(*function, text, "1");
  }
}

TEST(Hostile, FormulasThatWouldGrowWithoutBoundEndSoon) {
  const auto math = reward({.name = "math"});
  for (const std::string& formula : {std::string("10^{10^{10}}"),
                                     std::string("10^10^10"),
                                     std::string("9^{9^{9^9}}"),
                                     std::string("(a+b+c+d+e+f)^{64}"),
                                     std::string("((a+b)^{60}+c)^{60}"),
                                     std::string("999999999!"),
                                     std::string("1000!!!"),
                                     repeat("(", 4000),
                                     repeat("\\sqrt{", 3000),
                                     repeat("\\frac{1}{1+", 3000),
                                     repeat("{", 2000) + "1" + repeat("}", 2000),
                                     repeat("-", 4000) + "1",
                                     repeat("\\pm 1,", 4000),
                                     repeat("1,", 4000) + "1",
                                     repeat("x!", 4000),
                                     repeat("(x+y)", 4000),
                                     repeat("f(", 4000),
                                     repeat("|", 4001),
                                     repeat("2^", 4000) + "2",
                                     repeat("\\sqrt{1+", 300) + "x" + repeat("}", 300),
                                     repeat("(a+b)(c+d)(g+h)/(j+k)/", 4000) + "x",
                                     std::string("\\sqrt[10^9]{2}"),
                                     std::string("\\sqrt{") + repeat("7", 3000) + "}",
                                     std::string("\\sqrt[0]{2}"),
                                     std::string("0^{-1}"),
                                     std::string("\\log_1 2"),
                                     std::string("\\ln 0"),
                                     std::string("\\binom{500}{250}\\binom{500}{250}"),
                                     std::string("1.5!"),
                                     std::string("(-1)^{1/4}"),
                                     std::string("\\frac{1}{\\sin 0}"),
                                     repeat("\\begin{pmatrix}", 3000),
                                     repeat("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", 4000)}) {
    expect_soon(*math, "\\boxed{" + formula + "}", "\\boxed{" + formula + "+1}");
    expect_soon(*math, "\\boxed{" + formula + "}", "$2$");
    expect_soon(*math, "\\boxed{2}", "\\boxed{" + formula + "}");
  }
}

TEST(Hostile, TheStepBudgetEndsInATimeout) {
  const Verdict v = judge({.name = "math", .max_steps = 1000}, "\\boxed{(a+b+c+d)^{40}}", "$(a+b+c+d)^{41}$");
  EXPECT_EQ(v.kind, VerdictKind::kTimeout);
  EXPECT_FALSE(v.score.has_value());
}

TEST(Hostile, APassedDeadlineOrAStopGivesTimeouts) {
  const auto exact = reward({.name = "exact"});
  EXPECT_EQ(judge(*exact, "a", "a", {.deadline = Deadline{Instant::min()}}).kind, VerdictKind::kTimeout);
  std::stop_source stop;
  stop.request_stop();
  const Json columns{{"solution", "a"}};
  const RewardRequest request{"", "a", &columns};
  EXPECT_EQ(exact->score({&request, 1}, Deadline::never(), stop.get_token())[0].kind, VerdictKind::kTimeout);
}

TEST(Hostile, MutatedFormulasNeverCrashAndEveryOneHasAVerdict) {
  const std::vector<std::string> seeds = {
      "\\boxed{\\frac{1}{2}+\\sqrt[3]{x^2}-\\sin^2(y)}",
      "$x \\in [-1, \\frac{1}{2}) \\cup \\{3\\}$",
      "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
      "the answer is $1{,}000.5\\%$ and \\boxed{x=\\pm 2}, \\boxed{(3;4)}",
      "-3 \\leq |x-1| < 5!, \\binom{4}{2} : \\log_2 8 = e^{i\\pi}",
      "#### 1,234.5e6 2 1/2 <answer>f(x)=y_{12}</answer>"};
  const std::string_view letters = "\\{}()[]$^_|,;:!=<>+-*/.0123456789xeif &\n\xFF\xE2";
  const auto judges = every_verifier();
  Rng rng(20, Purpose::kTest);
  for (int round = 0; round < 3000; ++round) {
    std::string text = seeds[rng.below(seeds.size())];
    for (uint64_t edits = 1 + rng.below(6); edits > 0 && !text.empty(); --edits) {
      const size_t at = rng.below(text.size());
      switch (rng.below(4)) {
        case 0:
          text[at] = letters[rng.below(letters.size())];
          break;
        case 1:
          text.erase(at, 1 + rng.below(4));
          break;
        case 2:
          text.insert(at, 1, letters[rng.below(letters.size())]);
          break;
        default: {
          const std::string& other = seeds[rng.below(seeds.size())];
          text.insert(at, other.substr(rng.below(other.size()), rng.below(20)));
        }
      }
    }
    const std::string& solution = seeds[rng.below(seeds.size())];
    for (const auto& function : judges) expect_soon(*function, text, solution);
    // Equal texts are equal answers, whatever they mean.
    const Verdict self = judge(*judges[3], text, text);
    EXPECT_EQ(self.kind == VerdictKind::kScored ? self.score : 1.0, 1.0) << printable(text) << self.reason;
  }
}

}  // namespace
}  // namespace fulcrum::testing
