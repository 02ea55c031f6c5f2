#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

Verdict numeric(std::string_view completion, const Json& solution, double tolerance = 0) {
  return judge({.name = "numeric", .tolerance = tolerance}, completion, solution);
}
Verdict maths(std::string_view completion, const Json& solution) {
  return judge({.name = "math"}, completion, solution);
}

TEST(Exact, IgnoresBlanksAndCaseOnlyWhenAsked) {
  EXPECT_EQ(judge({.name = "exact"}, "  New \n York ", "New York").score, 1.0);
  EXPECT_EQ(judge({.name = "exact"}, "new york", "New York").score, 0.0);
  EXPECT_EQ(judge({.name = "exact", .ignore_case = true}, "new york", "New York").score, 1.0);
}

TEST(Exact, LooksWhereExtractSays) {
  const std::string text = "so <answer> a </answer> and \\boxed{b} then 12 #### c";
  EXPECT_EQ(judge({.name = "exact", .extract = "answer_tag"}, text, "a").score, 1.0);
  EXPECT_EQ(judge({.name = "exact", .extract = "boxed"}, text, "b").score, 1.0);
  EXPECT_EQ(judge({.name = "exact", .extract = "last_number"}, text, "12").score, 1.0);
  EXPECT_EQ(judge({.name = "exact", .extract = "after_marker"}, text, "c").score, 1.0);
  const Verdict none = judge({.name = "exact", .extract = "boxed", .no_answer_score = -0.5}, "no box", "b");
  EXPECT_EQ(none.kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(none.score, -0.5);
}

TEST(Exact, ARowWithoutAReferenceHasNoScore) {
  const Verdict v = judge({.name = "exact"}, "x", nullptr);
  EXPECT_EQ(v.kind, VerdictKind::kBadReference);
  EXPECT_FALSE(v.score.has_value());
}

TEST(Regex, MatchesSomewhereAndRefusesABrokenPattern) {
  EXPECT_EQ(judge({.name = "regex", .pattern = "a+b$"}, "xxaab", nullptr).score, 1.0);
  EXPECT_EQ(judge({.name = "regex", .pattern = "a+b$"}, "aabc", nullptr).score, 0.0);
  EXPECT_NE(make_reward({.name = "regex", .pattern = "("}).status().message().find("pattern '('"),
            std::string::npos);
  EXPECT_EQ(make_reward({.name = "regex"}).status().code(), Code::kInvalidArgument);
}

TEST(Numeric, ReadsTheWaysPeopleWriteNumbers) {
  for (const auto& [text, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"It costs $1,000.50.", "1000.5"},
                                                                  {"3/4", "0.75"},
                                                                  {"6.02e3", "6020"},
                                                                  {"-7", "-7"},
                                                                  {"the answer is \\boxed{-3}", "-3"},
                                                                  {"2 1/2", "5/2"},
                                                                  {"#### 42\nok", "42"},
                                                                  {"x \xE2\x88\x92"
                                                                   "5",
                                                                   "-5"},
                                                                  {"16-3=13", "13"},
                                                                  {"45%", "45"},
                                                                  {"45%", "0.45"},
                                                                  {"2,74", "2.74"},
                                                                  {"we get .5", "1/2"},
                                                                  {"+7", "7"},
                                                                  {"0.333", "0.333"},
                                                                  {"it is \\frac{1}{2}.", "0.5"},
                                                                  {"0.5", "\\frac{1}{2}"},
                                                                  {"\\boxed{2\\frac{1}{2}}", "2.5"},
                                                                  {"-$5", "-5"}}) {
    EXPECT_EQ(numeric(text, value).score, 1.0)
        << text << " is " << value << ": " << numeric(text, value).reason;
  }
  EXPECT_EQ(numeric("0.3333", "1/3").score, 0.0);
  EXPECT_EQ(numeric("0.3333", "1/3", 1e-3).score, 1.0);
  EXPECT_EQ(numeric("3", "-3").score, 0.0);
  EXPECT_EQ(numeric("45%", "0.45%").score, 0.0);
}

TEST(Numeric, SaysWhatIsMissing) {
  EXPECT_EQ(numeric("no idea", "3").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(numeric("3", "none").kind, VerdictKind::kBadReference);
  for (const char* no_number :
       {"\\frac{1}{0}", "1/0", "\\frac{x}{2}", "\\sqrt{2}", "$\\frac{\\sqrt{3}}{2}$"}) {
    EXPECT_EQ(numeric("2", no_number).kind, VerdictKind::kBadReference) << no_number;
    EXPECT_EQ(numeric(no_number, "2").kind, VerdictKind::kNoAnswer) << no_number;
  }
  for (const char* to_work_out : {"2^3", "2^{3}", "{1 \\over 2}", "\\log(0)", "\\binom{5}{1}", "x^5", "5-3",
                                  "1/3+2/3", "2 + 6/3", "0^0"})
    EXPECT_EQ(numeric("3", to_work_out).kind, VerdictKind::kBadReference) << to_work_out;
  EXPECT_EQ(numeric("18", "18\\text{ cm}").score, 1.0);
  EXPECT_EQ(numeric("60", "60 km/h").score, 1.0);
  EXPECT_EQ(numeric("AZYUK2A", "2").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(numeric("3", Json(3)).score, 1.0);  // a number in the data is a reference too
}

TEST(Numeric, HugeExponentsAreRefusedBeforeTheyAreComputed) {
  EXPECT_EQ(numeric("1e999999999", "3").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(numeric(std::string(1 << 20, '9'), "3").kind, VerdictKind::kNoAnswer);
}

TEST(Math, EqualFormsOfOneAnswerAreEqual) {
  for (const auto& [a, b] : std::initializer_list<std::pair<const char*, const char*>>{
           {"$\\frac{1}{2}$", "0.5"},
           {"{1 \\over 2}", "0.5"},
           {"\\boxed{x^{1\\over 2}}", "$\\sqrt{x}$"},
           {"\\boxed{a+b \\over 2c}", "$\\frac{a+b}{2c}$"},
           {"$x = {-b \\over 2a}$", "$x=-\\frac{b}{2a}$"},
           {"\\boxed{\\sqrt{12}}", "$2\\sqrt{3}$"},
           {"\\boxed{\\frac{1}{1+\\sqrt{2}}}", "$\\sqrt2-1$"},
           {"\\boxed{(x+1)^2}", "$x^2+2x+1$"},
           {"\\boxed{\\frac{x^2-1}{x-1}}", "$x+1$"},
           {"\\boxed{\\sin^2 x+\\cos^2 x}", "$1$"},
           {"\\boxed{2\\pi r}", "$\\pi r\\cdot 2$"},
           {"\\boxed{e^{x+y}}", "$e^x e^y$"},
           {"\\boxed{\\log_2 8}", "$3$"},
           {"\\boxed{5!}", "$120$"},
           {"\\boxed{\\binom{5}{2}}", "$10$"},
           {"\\boxed{2\\frac{1}{2}}", "$5/2$"},
           {"\\boxed{i^2}", "$-1$"},
           {"\\boxed{1,234,567}", "1234567"},
           {"\\boxed{x>2}", "$(2,\\infty)$"},
           {"\\boxed{\\{3,1,2\\}}", "$\\{1,2,3\\}$"},
           {"\\boxed{90^\\circ}", "$90$"},
           {"\\boxed{\\text{odd and {even}}}", "$odd and{even}$"},
           {"\\boxed{|-3|}", "$3$"}}) {
    EXPECT_EQ(maths(a, b).score, 1.0) << a << " and " << b << ": " << maths(a, b).reason;
    EXPECT_EQ(maths(b, a).score, 1.0) << b << " and " << a << ": " << maths(b, a).reason;
  }
}

TEST(Math, DifferentAnswersAreDifferent) {
  for (const auto& [a, b] : std::initializer_list<std::pair<const char*, const char*>>{
           {"\\boxed{\\sqrt{x^2}}", "$x$"},
           {"\\boxed{(1,2)}", "$(2,1)$"},
           {"\\boxed{[1,2]}", "$(1,2)$"},
           {"\\boxed{x=2,y=3}", "$x=3,y=2$"},
           {"\\boxed{x<2}", "$x>2$"},
           {"\\boxed{\\pm 2}", "$2$"},
           {"\\boxed{\\frac{1}{0}}", "$0$"},
           {"\\boxed{3.14}", "$\\pi$"},
           {"\\boxed{\\frac{1}{23}}", "$\\frac{12}{3}$"},
           {"\\boxed{\\frac{1}{2}3}", "$\\frac{1}{23}$"},
           {"\\boxed{1 \\over 2}", "$\\frac{2}{1}$"},
           {"\\boxed{{1 \\over 2} \\over 3}", "$\\frac{3}{2}$"},
           {"\\boxed{2x}", "$x^2$"}}) {
    EXPECT_EQ(maths(a, b).score, 0.0) << a << " and " << b;
  }
}

TEST(Math, AVersionIsNoNumber) {
  EXPECT_EQ(maths("1.2.3", "0.3").score, 0.0);
  EXPECT_EQ(maths("it is 1.2.3", "0.3").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(maths("1.2.3", "1.2.3").score, 1.0);          // as text
  EXPECT_EQ(maths("\\boxed{1.2.3}", "0.36").score, 0.0);  // nor the product of two
  EXPECT_EQ(numeric("1.2.3", "0.3").kind, VerdictKind::kNoAnswer);
}

TEST(Math, AReferenceWithoutAValueIsABadOne) {
  for (const char* reference : {"\\frac{1}{0}", "$\\frac{1}{0}$", "1/0", "\\boxed{0^{-1}}", "0^{-1}",
                                "5\\cdot\\frac{1}{0}", "\\frac{x}{1-1}", "so #### \\frac{1}{0}"}) {
    for (const char* completion : {"0", "\\boxed{-1}", "\\boxed{\\frac{1}{0}}"}) {
      const Verdict v = maths(completion, reference);
      EXPECT_EQ(v.kind, VerdictKind::kBadReference) << completion << " for " << reference << ": " << v.reason;
      EXPECT_FALSE(v.score.has_value());
    }
  }
  EXPECT_EQ(maths("\\boxed{12:00}", "$12:00$").score, 1.0);
  // Too large to compute is not without a value: the text can be compared.
  EXPECT_EQ(maths("\\boxed{10^{10^{10}}}", "10^{10^{10}}").score, 1.0);
  EXPECT_EQ(maths("\\boxed{10}", "10^{10^{10}}").score, 0.0);
}

TEST(Math, AFractionInRunningTextIsReadWhole) {
  const std::string prose = std::string(300, '.') + " so it is ";  // too long to be a formula itself
  EXPECT_EQ(maths(prose + "\\frac{1}{2}", "0.5").score, 1.0);
  EXPECT_EQ(maths(prose + "\\frac{1}{2}", "2").score, 0.0);
  EXPECT_EQ(maths(prose + "2\\sqrt{3}", "\\sqrt{12}").score, 1.0);
}

TEST(Math, TheAnswerStatedLastCounts) {
  EXPECT_EQ(maths("first \\boxed{1}, no: \\boxed{2}?? the final answer is $3$.", "3").score, 1.0);
  EXPECT_EQ(maths("$x=1$ but then \\boxed{2}", "2").score, 1.0);
  EXPECT_EQ(maths("we cut here \\boxed{2", "2").kind, VerdictKind::kScored);  // the bare 2 is the last number
  EXPECT_EQ(maths("no answer at all", "2").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(maths("2", "forty two apples").kind, VerdictKind::kBadReference);
}

TEST(Math, LooksOnlyWhereExtractSays) {
  EXPECT_EQ(judge({.name = "math", .extract = "boxed"}, "42", "42").kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(judge({.name = "math", .extract = "boxed"}, "\\boxed{42} or 43", "42").score, 1.0);
  EXPECT_EQ(judge({.name = "math", .extract = "answer_tag"}, "<answer>1/2</answer> 3", "0.5").score, 1.0);
  EXPECT_EQ(maths("so #### 1/2", "steps \\boxed{7}\n#### \\frac{1}{2}").score, 1.0);
}

TEST(Length, IsDaposSoftOverlongPunishmentOfTheGoldenFile) {
  size_t checked = 0;
  const Json golden = read_json(source_folder() / "tests/golden/policy_gradient.json");
  for (const Json& c : golden["cases"]) {
    if (c["op"] != "overlong") continue;
    const Json& in = c["inputs"];
    const auto length = reward({.name = "length",
                                .max_length = in["max_len"].get<int64_t>(),
                                .soft_length = in["cache_len"].get<int64_t>()});
    for (size_t i = 0; i < in["length"].size(); ++i, ++checked) {
      const double score = *judge(*length, "", nullptr, {.num_tokens = in["length"][i]}).score;
      EXPECT_NEAR(score * in["factor"].get<double>(), c["expected"]["paper"][i].get<double>(), 1e-12)
          << c["id"];
    }
  }
  EXPECT_GT(checked, 20u);
}

TEST(Length, TargetFallsLinearlyOnBothSides) {
  const RewardConfig config{.name = "length", .target = 10};
  EXPECT_EQ(judge(config, "", nullptr, {.num_tokens = 10}).score, 1.0);
  EXPECT_EQ(judge(config, "", nullptr, {.num_tokens = 15}).score, 0.5);
  EXPECT_EQ(judge(config, "", nullptr, {.num_tokens = 40}).score, 0.0);
  EXPECT_FALSE(make_reward({.name = "length"}).ok());
  EXPECT_FALSE(make_reward({.name = "length", .max_length = 5, .soft_length = 6}).ok());
}

TEST(Format, BoxedNeedsSomethingInABalancedBox) {
  EXPECT_EQ(judge({.name = "format", .format = "boxed"}, "so \\boxed{\\frac{1}{2}}", nullptr).score, 1.0);
  EXPECT_EQ(judge({.name = "format", .format = "boxed"}, "so \\boxed{ }", nullptr).score, 0.0);
  EXPECT_EQ(judge({.name = "format", .format = "boxed"}, "so \\boxed{1", nullptr).score, 0.0);
}

TEST(PrefixMatch, APerfectEndedCompletionHasOne) {
  EXPECT_DOUBLE_EQ(*judge({.name = "prefix_match"}, "7,7", "7,7").score, 1.0);
  EXPECT_DOUBLE_EQ(*judge({.name = "prefix_match"}, "7,7", "7,7", {.truncated = true}).score, 0.75);
  EXPECT_DOUBLE_EQ(*judge({.name = "prefix_match"}, "7,8", "7,7").score, 0.5);
  EXPECT_DOUBLE_EQ(*judge({.name = "prefix_match"}, "", "").score, 1.0);
  EXPECT_DOUBLE_EQ(*judge({.name = "prefix_match"}, "", "7").score, 0.0);
}

TEST(Registry, EveryNameOfTheConfigIsMadeOrRefusedInWords) {
  EXPECT_NE(make_reward({.name = "exakt"}).status().message().find("exact, regex"), std::string::npos);
  const Json schema = config_schema<RewardConfig>();
  for (const Json& name : schema["properties"]["name"]["enum"]) {
    if (name == "service" || name == "model") continue;  // made by others, below
    EXPECT_TRUE(make_reward(with_its_keys({.name = name, .pattern = "a", .target = 3})).ok()) << name;
  }
}

TEST(WeightedSum, AddsWeightedScoresAndKeepsTheParts) {
  auto sum = make_rewards({{.name = "exact"},
                           {.name = "regex", .weight = 0.5, .pattern = "a"},
                           {.name = "regex", .weight = -2, .pattern = "b"}});
  ASSERT_TRUE(sum.ok());
  const Verdict v = judge(**sum, "ab", "ab");
  EXPECT_EQ(v.score, 1 + 0.5 - 2);
  EXPECT_EQ(v.kind, VerdictKind::kScored);
  EXPECT_EQ(v.parts, (std::map<std::string, double>{{"exact", 1}, {"regex", 1}, {"regex_2", 1}}));
}

TEST(WeightedSum, HasAScoreOnlyIfAllPartsHave) {
  auto sum = make_rewards({{.name = "regex", .pattern = "a"}, {.name = "numeric"}});
  ASSERT_TRUE(sum.ok());
  const Verdict bad = judge(**sum, "a 3", "no number");
  EXPECT_FALSE(bad.score.has_value());
  EXPECT_EQ(bad.kind, VerdictKind::kBadReference);
  EXPECT_EQ(bad.parts.count("numeric"), 0u);
  const Verdict none = judge(**sum, "a", "3");
  EXPECT_EQ(none.kind, VerdictKind::kNoAnswer);
  EXPECT_EQ(none.score, 1.0);
}

TEST(WeightedSum, OfAServiceOrAModelEveryKeyIsReadToo) {
  const JudgeFactory make = [](const RewardConfig&) {
    return make_reward({.name = "regex", .pattern = "a"});
  };
  EXPECT_EQ(
      make_rewards({{.name = "service", .pattern = "x", .address = "a:1"}}, make, make).status().message(),
      "reward 'service' does not use 'pattern': leave it out");
  EXPECT_EQ(make_rewards({{.name = "model", .path = "m", .address = "a:1"}}, make, make).status().message(),
            "reward 'model' does not use 'address': leave it out");
  EXPECT_EQ(make_rewards({{.name = "model"}}, make, make).status().message(), "reward 'model' needs 'path'");
}

TEST(WeightedSum, TheServiceAndTheModelComeFromTheirFactories) {
  for (const char* name : {"service", "model"}) {
    const std::string why = make_rewards({{.name = name}}).status().message();
    EXPECT_NE(why.find(name), std::string::npos) << why;
  }
  const auto model = make_rewards({{.name = "model", .path = "m"}}, {}, [](const RewardConfig& c) {
    return make_reward({.name = "regex", .pattern = c.path});
  });
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(judge(**model, "m", nullptr).parts.at("model"), 1.0);
  std::string asked;
  const auto sum = make_rewards({{.name = "service", .address = "a:1"}}, [&](const RewardConfig& c) {
    asked = c.address;
    return make_reward({.name = "regex", .pattern = "z"});
  });
  ASSERT_TRUE(sum.ok());
  EXPECT_EQ(asked, "a:1");
  EXPECT_EQ(judge(**sum, "z", nullptr).parts.at("service"), 1.0);
}

}  // namespace
}  // namespace fulcrum::testing
