// Soups through the real programs: made, refused, chosen on held-out data, and trained against.
#include <cmath>

#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

class SoupVerb : public Tools {
 protected:
  Json soup(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "soup");
    arguments.insert(arguments.end(), {"-o", "json"});
    const auto parsed = parse_json(out(arguments));
    return parsed.ok() ? *parsed : Json::object();
  }
  void refused(std::vector<std::string> arguments, const std::vector<std::string>& says) {
    arguments.insert(arguments.begin(), "soup");
    const Finished f = fulcrum(arguments);
    EXPECT_TRUE(f.code == 2 || f.code == 7) << f.code;  // docs/errors.md
    for (const std::string& part : says) EXPECT_NE(f.err.find(part), std::string::npos) << f.err;
    EXPECT_EQ(f.err.find('\n'), f.err.size() - 1) << f.err;
  }
  std::string texts() const {
    return write("texts.jsonl",
                 "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n"
                 "{\"prompt\": \"2+3=\", \"completion\": \"5\"}\n{\"text\": \"7+1=8\"}\n");
  }
};

TEST_F(SoupVerb, OfEqualModelsIsThatModelAndLeavesAManifest) {
  const std::string a = small_model("a", 1);
  const Json made = soup({a, a, "--out", path("soup")});
  EXPECT_EQ(made["content_hash"], made["ingredients"][0]["content_hash"]);
  EXPECT_EQ(made["ingredients"][1]["weight"], 0.5);
  const auto manifest = read_file(Path(path("soup")) / "soup.json");
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(*parse_json(*manifest), made);
  EXPECT_FALSE(out({"generate", "-m", path("soup"), "--greedy", "--max-new-tokens", "2", "1+1="}).empty());
}

TEST_F(SoupVerb, NamesTheFirstDifferenceOfUnlikeModels) {
  const std::string a = small_model("a", 1), deep = small_model("deep", 2, 3);
  refused({a, deep, "--out", path("soup")}, {"do not fit", "model.layers.2."});
  out({"init-model", path("other"), "--characters", "0123456789*=", "--hidden-size", "32", "--layers", "2",
       "--intermediate-size", "64", "--heads", "2", "--kv-heads", "2", "--max-positions", "64"});
  refused({a, path("other"), "--out", path("soup")}, {"do not fit", "'+' and '*'"});
  refused({a, a, "--weights", "1.5,-0.5", "--out", path("soup")}, {"--extrapolate"});
  refused({a, a, "--mu", "0.5", "--out", path("soup")}, {"--mu is for --recipe ema"});
  refused({a, a, "--recipe", "slerp", "--out", path("soup")}, {"name it as the base"});
  refused({a, a, "--out", a}, {"is one of the models"});
  refused({"--weights", "0.7", "0.3", a, a, "--out", path("soup")},
          {"'0.3' is taken for a model", "--weights 0.7,0.3"});
  EXPECT_FALSE(std::filesystem::exists(path("soup")));
}

TEST_F(SoupVerb, WritesOverNothing) {
  const std::string a = small_model("a", 1), b = small_model("b", 2);
  const std::string before = slurp(b + "/model.safetensors");
  const Finished f = fulcrum({"soup", a, a, "--out", b});
  EXPECT_EQ(f.code, 4) << f.err;
  EXPECT_NE(f.err.find("'" + b + "' is there already and not empty: choose another folder"),
            std::string::npos)
      << f.err;
  EXPECT_EQ(slurp(b + "/model.safetensors"), before);
  ASSERT_TRUE(make_folders(path("empty")).ok());
  soup({a, a, "--out", path("empty")});
}

TEST_F(SoupVerb, GreedyKeepsTheBestModelAndRefusesWhatMakesItWorse) {
  const std::string a = small_model("a", 1), b = small_model("b", 2), data = texts();
  const Json made = soup({a, b, "--recipe", "greedy", "--margin", "0", "--held-out", data, "--max-barrier",
                          "10", "--out", path("soup")});
  ASSERT_EQ(made["greedy"].size(), 2u);
  EXPECT_TRUE(made["greedy"][0]["taken"].get<bool>());
  EXPECT_GE(made["greedy"][1]["best_score"], made["greedy"][0]["best_score"]);
  double weights = 0;
  for (const Json& item : made["ingredients"]) weights += item["weight"].get<double>();
  EXPECT_EQ(weights, 1.0);
}

TEST_F(SoupVerb, LearnedWeightsLowerTheHeldOutLossBelowTheAverage) {
  const std::string a = small_model("a", 1), b = small_model("b", 2), data = texts();
  const Json average = soup({a, b, "--held-out", data, "--max-barrier", "10", "--out", path("average")});
  const Json learned = soup({a, b, "--recipe", "learned", "--steps", "10", "--held-out", data,
                             "--max-barrier", "10", "--out", path("learned")});
  EXPECT_LT(learned["nll"].get<double>(), average["nll"].get<double>());
  EXPECT_NE(learned["ingredients"][0]["weight"], 0.5);
}

TEST_F(SoupVerb, HeldOutTextsStopASoupThatIsMuchWorseThanItsModels) {
  const std::string a = small_model("a", 1), b = small_model("b", 2), data = texts();
  refused({a, b, "--held-out", data, "--max-barrier", "-100", "--out", path("soup")},
          {"nats per token", "--max-barrier"});
  const Json made = soup({a, b, "--held-out", data, "--max-barrier", "1", "--out", path("soup")});
  const double mean =
      (made["ingredients"][0]["nll"].get<double>() + made["ingredients"][1]["nll"].get<double>()) / 2;
  EXPECT_NEAR(made["loss_barrier"].get<double>(), made["nll"].get<double>() - mean, 1e-12);
}

TEST_F(SoupVerb, SlerpAndInterpolationStartFromTheBase) {
  const std::string base = small_model("base", 1), a = small_model("a", 2), b = small_model("b", 3);
  const Json made =
      soup({a, b, "--recipe", "slerp", "--base", base, "--interpolation", "0", "--out", path("s")});
  const Json whole = soup({base, "--out", path("base2")});
  EXPECT_EQ(made["content_hash"], whole["content_hash"]);
  EXPECT_NEAR(made["task_cosines"][0][0].get<double>(), 1.0, 1e-12);
  EXPECT_LT(std::abs(made["task_cosines"][0][1].get<double>()), 1.0);
}

TEST_F(SoupVerb, ARunAgainstASoupRecordsItsHashAndItsDistanceFromTheStart) {
  const std::string a = small_model("a", 1), b = small_model("b", 2);
  const Json made = soup({a, b, "--out", path("soup")});
  const std::string job = small_job(
      "job.json", {{"model_name_or_path", a}, {"ref_soup", {a, b}}, {"beta", 0.1}, {"max_steps", 1}});
  out({"run", job, "--output-dir", path("run")});
  const Json info = *parse_json(out({"checkpoint", "info", path("run")}));
  EXPECT_EQ(info["facts"]["reference"]["content_hash"], made["content_hash"]);
  EXPECT_EQ(info["facts"]["reference"]["version"], 0);
  EXPECT_EQ(info["facts"]["base"], made["ingredients"][0]["content_hash"]);
  const Json step = *parse_json(*read_file(Path(path("run")) / "metrics.jsonl"));
  EXPECT_NE(step["soup/kl"].get<double>(), 0.0);  // of random models, by few samples: of either sign
  EXPECT_EQ(step["soup/kl_excess"], 0.0);
}

TEST_F(SoupVerb, WithBetaZeroASoupAsReferenceIsRefused) {
  const std::string a = small_model("a", 1);
  const std::string job = small_job(
      "job.json", {{"model_name_or_path", a}, {"ref_soup", {"nowhere"}}, {"beta", 0.0}, {"max_steps", 1}});
  const Finished run = fulcrum({"run", job, "--output-dir", path("run")});
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("nothing in this job compares with a reference"), std::string::npos) << run.err;
}

TEST_F(SoupVerb, EvalComparesTwoModelsPromptByPrompt) {
  const std::string a = small_model("a", 1),
                    data = write("p.jsonl", "{\"prompt\": \"1+1=\"}\n{\"prompt\": \"2=\"}\n");
  std::vector<std::string> arguments = {
      "eval",   "-m",    a,          "--against",         a,   "--data", data, "--reward",
      "length", "--set", "target=4", "--num-generations", "2", "--k",    "1",  "--max-new-tokens",
      "8",      "-o",    "jsonl"};
  Json ties;
  for (const Json& row : rows(arguments)) {
    if (row["metric"] == "ties") ties = row;
  }
  EXPECT_EQ(ties["mean"], 2);
}

}  // namespace
}  // namespace fulcrum::testing
