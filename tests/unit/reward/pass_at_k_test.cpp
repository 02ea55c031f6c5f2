#include "reward/pass_at_k.h"

#include <vector>

#include "tests/unit/reward/reward_testing.h"

namespace fulcrum::testing {
namespace {

std::vector<SolveCount> counts(const Json& n, const Json& c) {
  std::vector<SolveCount> out;
  for (size_t i = 0; i < c.size(); ++i) out.push_back({n[i].get<int64_t>(), c[i].get<int64_t>()});
  return out;
}

void expect_value(const std::optional<double>& got, const Json& want, const std::string& where) {
  if (want.is_string()) {
    EXPECT_FALSE(got.has_value()) << where;
  } else {
    ASSERT_TRUE(got.has_value()) << where;
    EXPECT_NEAR(*got, want.get<double>(), 1e-12 + 1e-10 * std::abs(want.get<double>())) << where;
  }
}

TEST(PassAtK, MatchesTheGoldenCases) {
  size_t checked = 0;
  const Json golden = read_json(source_folder() / "tests/golden/dph_rl.json");
  for (const Json& c : golden["cases"]) {
    if (c["op"] != "passk") continue;
    const Json &in = c["inputs"], &expected = c["expected"];
    const std::string id = c["id"];
    const std::vector<SolveCount> problems = counts(in["n"], in["c"]);
    for (size_t j = 0; j < in["k"].size(); ++j, ++checked) {
      for (size_t i = 0; i < problems.size(); ++i) {
        expect_value(pass_at_k(problems[i], in["k"][j]), expected["per_problem"][i][j], id);
      }
      const std::optional<Estimate> mean = mean_pass_at_k(problems, in["k"][j], 1);
      expect_value(mean ? std::optional(mean->mean) : std::nullopt, expected["mean"][j], id);
    }
    if (!in.contains("base_c")) continue;
    const Retention r = retention(counts(in["n"], in["base_c"]), problems);
    expect_value(r.keep_rate, expected["keep_rate"], id);
    expect_value(r.new_solve_rate, expected["new_solve_rate"], id);
  }
  EXPECT_GE(checked, 15u);
}

TEST(PassAtK, StaysExactWhereBinomialsOverflow) {
  EXPECT_NEAR(*pass_at_k({100000, 1}, 50000), 0.5, 1e-9);
  EXPECT_EQ(pass_at_k({10, 0}, 10), 0.0);
  EXPECT_EQ(pass_at_k({10, 1}, 10), 1.0);
  EXPECT_FALSE(pass_at_k({4, 2}, 5).has_value());
  EXPECT_FALSE(pass_at_k({4, 5}, 1).has_value());
  EXPECT_FALSE(pass_at_k({4, 2}, 0).has_value());
}

TEST(PassAtK, TheIntervalIsAFunctionOfDataAndSeedAndHoldsTheMean) {
  std::vector<double> values(200);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 4 == 0 ? 1 : 0;
  const Estimate a = *estimate_mean(values, 7), b = *estimate_mean(values, 7);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.mean, 0.25);
  EXPECT_EQ(a.problems, 200);
  // The normal interval is 0.25 +- 1.96 sqrt(0.25 * 0.75 / 200) = 0.25 +- 0.060.
  EXPECT_NEAR(a.low, 0.19, 0.015);
  EXPECT_NEAR(a.high, 0.31, 0.015);
  EXPECT_FALSE(estimate_mean({}, 7).has_value());
}

TEST(MajAtK, AgreesWithLighteval) {
  FULCRUM_NEEDS_DATA("reward-vectors/lighteval_metrics.json");
  size_t checked = 0;
  for (const Json& c : read_json(test_data() / "reward-vectors/lighteval_metrics.json")) {
    if (c["metric_class"] != "maj_at_k" && c["metric_class"] != "pass_at_k") continue;
    const Json& gold_index = c["doc"]["gold_index"];
    const size_t gold = gold_index.is_array() ? gold_index[0] : gold_index;
    std::vector<Vote> votes;
    SolveCount count;
    for (const Json& text : c["model_response"]["text"]) {
      votes.push_back({text.get<std::string>(), text == c["doc"]["choices"][gold]});
      ++count.n;
      count.c += votes.back().right ? 1 : 0;
    }
    const int64_t k = c["metric_params"]["k"];
    const auto got = c["metric_class"] == "maj_at_k" ? maj_at_k(votes, k) : pass_at_k(count, k);
    ASSERT_TRUE(got.has_value());
    EXPECT_NEAR(*got, c["expected_output"].front().get<double>(), 0.01) << c["name"];
    ++checked;
  }
  EXPECT_EQ(checked, 7u);
}

TEST(MajAtK, TheEarliestOfEquallyFrequentAnswersCounts) {
  const std::vector<Vote> votes{{"a", false}, {"b", true}, {"b", true}, {"a", false}};
  EXPECT_EQ(maj_at_k(votes, 1), 0.0);
  EXPECT_EQ(maj_at_k(votes, 3), 1.0);
  EXPECT_EQ(maj_at_k(votes, 4), 0.0);
  EXPECT_FALSE(maj_at_k(votes, 5).has_value());
}

}  // namespace
}  // namespace fulcrum::testing
