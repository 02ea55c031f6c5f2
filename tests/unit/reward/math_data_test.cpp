// The math reward beside the verdicts of public graders.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>

#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

TEST(MathData, AgreesWithMathVerifyButForTheseDisagreements) {
  FULCRUM_NEEDS_DATA("math-equivalence/math_verify_pairs.json");
  const std::map<size_t, std::string> known = {
      {20, "they refuse a line break inside \\( \\); it is the same formula"},
      {184, "marked doubtful by the data: 1 - 1/e is not 1 + 1/e"},
      {190, "their option to ignore the names of variables does not exist here"},
  };
  const Json pairs = read_json(test_data() / "math-equivalence/math_verify_pairs.json");
  size_t agreed = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const Json& pair = pairs[i];
    RewardConfig config{.name = "math"};
    // Their verdicts round to this many decimal places.
    config.tolerance = std::pow(10.0, -pair.value("precision", 6));
    const Verdict v = judge(config, pair["pred"].get<std::string>(), pair["gold"]);
    const bool agrees = (v.score.value_or(0) > 0.5) == pair["expected"].get<bool>();
    agreed += agrees ? 1 : 0;
    EXPECT_EQ(agrees, !known.contains(i))
        << "pair " << i << " gold " << pair["gold"].dump().substr(0, 300) << " pred "
        << pair["pred"].dump().substr(0, 300) << ": " << verdict_name(v.kind) << " " << v.reason;
  }
  std::cout << "math-verify pairs: " << agreed << " of " << pairs.size() << " agree\n";
}

TEST(MathData, AgreesWithTheMathBenchmarkButForTheOrderOfLists) {
  FULCRUM_NEEDS_DATA("math-equivalence/hendrycks_is_equiv.json");
  const std::map<size_t, std::string> known = {
      {1, "they compare text, so the order of a list matters; here a list without brackets is a set"},
      {8, "the same"},
  };
  const Json pairs = read_json(test_data() / "math-equivalence/hendrycks_is_equiv.json");
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::string a = pairs[i]["a"], b = pairs[i]["b"];
    const bool equal =
        judge({.name = "math"}, "\\boxed{" + b + "}", "\\boxed{" + a + "}").score.value_or(0) > 0.5;
    EXPECT_EQ(equal == pairs[i]["expected"].get<bool>(), !known.contains(i))
        << i << ": " << a << " and " << b;
  }
}

// The cases of the peers' own tests for the rewards that this project has under the same definition.
size_t check_accuracy_cases(const Json& cases) {
  size_t checked = 0;
  for (const Json& c : cases) {
    if (c["function"] != "accuracy_reward") continue;
    const size_t index = c["select"][0];
    const Verdict v = judge({.name = "math"}, c["args"][0][index].get<std::string>(), c["args"][1][index]);
    if (c["expected"].is_null()) {
      EXPECT_EQ(v.kind, VerdictKind::kBadReference) << c;
      EXPECT_FALSE(v.score.has_value());
    } else {
      EXPECT_EQ(v.score, c["expected"].get<double>()) << c << v.reason;
    }
    ++checked;
  }
  return checked;
}

TEST(RewardData, AccuracyIsWhatTrlAndOpenR1Expect) {
  FULCRUM_NEEDS_DATA("reward-vectors/trl.json");
  EXPECT_EQ(check_accuracy_cases(read_json(test_data() / "reward-vectors/trl.json")), 6u);
  EXPECT_EQ(check_accuracy_cases(read_json(test_data() / "reward-vectors/open_r1.json")), 5u);
}

TEST(RewardData, ThinkFormatIsTrls) {
  FULCRUM_NEEDS_DATA("reward-vectors/trl.json");
  size_t checked = 0;
  for (const Json& c : read_json(test_data() / "reward-vectors/trl.json")) {
    if (c["function"] != "think_format_reward") continue;
    for (size_t i = 0; i < c["expected"].size(); ++i, ++checked) {
      const std::string text = c["args"][0][i];
      EXPECT_EQ(judge({.name = "format", .format = "think"}, text, nullptr).score,
                c["expected"][i].get<double>())
          << text;
    }
  }
  EXPECT_GE(checked, 15u);
}

TEST(RewardData, ThinkAnswerFormatIsOpenR1s) {
  FULCRUM_NEEDS_DATA("reward-vectors/open_r1.json");
  size_t checked = 0;
  for (const Json& c : read_json(test_data() / "reward-vectors/open_r1.json")) {
    if (c["function"] != "format_reward") continue;
    const std::string text = c["args"][0][0];
    EXPECT_EQ(judge({.name = "format", .format = "think_answer"}, text, nullptr).score,
              c["expected"].get<double>())
        << text;
    ++checked;
  }
  EXPECT_EQ(checked, 7u);
}

TEST(RewardData, NumericGradesGsm8kSolutionsAsItsAuthorsDid) {
  FULCRUM_NEEDS_DATA("gsm8k/model_solutions_first1000.jsonl");
  const auto numeric = reward({.name = "numeric", .extract = "after_marker", .marker = "A:"});
  std::istringstream lines(read_text(test_data() / "gsm8k/model_solutions_first1000.jsonl"));
  size_t agreed = 0, rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    const Json row = *parse_json(line);
    const bool right =
        judge(*numeric, row["solution"].get<std::string>(), row["answer"]).score.value_or(0) > 0.5;
    agreed += right == row["is_correct"].get<bool>() ? 1 : 0;
  }
  std::cout << "gsm8k graded solutions: " << agreed << " of " << rows << " agree\n";
  EXPECT_EQ(rows, 4000u);
  EXPECT_EQ(agreed, 4000u);
}

TEST(RewardData, NumericReadsEveryGsm8kReference) {
  FULCRUM_NEEDS_DATA("gsm8k/train.jsonl");
  const auto numeric = reward({.name = "numeric"});
  for (const char* file : {"gsm8k/train.jsonl", "gsm8k/test_first1000.jsonl"}) {
    std::istringstream lines(read_text(test_data() / file));
    size_t right = 0, rows = 0;
    for (std::string line; std::getline(lines, line); ++rows) {
      const std::string answer = (*parse_json(line))["answer"];
      right += judge(*numeric, answer, answer).score == 1.0 ? 1 : 0;
    }
    EXPECT_EQ(right, rows) << file;
  }
}

TEST(RewardData, MathReadsGsm8kReferencesBehindTheirMarker) {
  FULCRUM_NEEDS_DATA("gsm8k/test_first1000.jsonl");
  const auto math = reward({.name = "math"});
  std::istringstream lines(read_text(test_data() / "gsm8k/test_first1000.jsonl"));
  size_t right = 0, rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    const std::string answer = (*parse_json(line))["answer"];
    const std::string value = answer.substr(answer.rfind("#### ") + 5);
    right += judge(*math, "So it is \\boxed{" + value + "}.", answer).score == 1.0 ? 1 : 0;
  }
  EXPECT_EQ(right, rows);
}

TEST(RewardData, PrefixMatchSumsTheDigitCompletionRewards) {
  FULCRUM_NEEDS_DATA("digit-completion/reward_vectors.json");
  const auto prefix = reward({.name = "prefix_match"});
  for (const Json& c : read_json(test_data() / "digit-completion/reward_vectors.json")) {
    double sum = 0;
    for (const Json& r : c["rewards"]) sum += r.get<double>();
    const std::string response = c["response"], truth = c["ground_truth"];
    // Cut by the length limit there is no end token; else it earns what the last character earned.
    EXPECT_NEAR(*judge(*prefix, response, truth, {.truncated = true}).score, sum, 1e-6)
        << c;  // written with 7 digits
    const double at_once = truth.empty() ? 1 : 0;
    const double end = response.empty() ? at_once : c["rewards"].back().get<double>();
    EXPECT_NEAR(*judge(*prefix, response, truth).score, sum + end, 1e-6) << c;
  }
}

}  // namespace
}  // namespace fulcrum::testing
