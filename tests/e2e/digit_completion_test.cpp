// verl's own end-to-end task: a character-level model with random weights learns by reinforcement alone to
// continue arithmetic sequences. Its model, tokenizer and prompts as they are, through `fulcrum run`.
#include <gtest/gtest.h>

#include <numeric>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/process.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {
namespace {

// The answer to "a,b:m,n": the next n numbers after a, b with the step (b - a) mod m, each mod m.
std::string truth_of(const std::string& prompt) {
  int a = 0, b = 0, m = 0, n = 0;
  EXPECT_EQ(std::sscanf(prompt.c_str(), "%d,%d:%d,%d", &a, &b, &m, &n), 4) << prompt;
  const int step = ((b - a) % m + m) % m;
  std::string out;
  for (int i = 1; i <= n; ++i) out += (i > 1 ? "," : "") + std::to_string((b + step * i) % m);
  return out;
}

TEST(DigitCompletion, TheRuleOfTheTaskIsUnderstood) {
  FULCRUM_NEEDS_DATA("digit-completion/reward_vectors.json");
  const Json vectors = parse_json(slurp(test_data() / "digit-completion/reward_vectors.json")).value();
  ASSERT_FALSE(vectors.empty());
  for (const Json& v : vectors) EXPECT_EQ(truth_of(v["prompt"]), v["ground_truth"]) << v["prompt"];
}

TEST(DigitCompletion, FifteenStepsOfGrpoRaiseTheReward) {
  FULCRUM_NEEDS_DATA("digit-completion/model.safetensors");
  const TempFolder folder;
  std::istringstream prompts(slurp(test_data() / "digit-completion/prompts_train.txt"));
  std::string rows;
  for (std::string line; std::getline(prompts, line);)
    rows += dump_json({{"prompt", line}, {"solution", truth_of(line)}}) + "\n";
  ASSERT_TRUE(write_file_atomic(folder.path() / "train.jsonl", rows).ok());
  const Json job = {{"trainer", "grpo"},
                    {"model_name_or_path", (test_data() / "digit-completion").string()},
                    {"train_files", {"train.jsonl"}},
                    {"max_steps", 15},
                    {"prompts_per_step", 64},
                    {"num_generations", 16},
                    {"max_completion_length", 20},
                    {"learning_rate", 1e-3},
                    {"scale_rewards", "batch"},
                    {"reward_funcs", {{{"name", "prefix_match"}}}}};
  ASSERT_TRUE(write_file_atomic(folder.path() / "job.json", dump_json(job)).ok());
  const Path out = folder.path() / "out";
  const Finished trained = run({program("fulcrum").string(), "run", (folder.path() / "job.json").string(),
                                "--output-dir", out.string()},
                               folder.path() / "run");
  ASSERT_EQ(trained.code, 0) << trained.err;

  std::vector<double> rewards;
  std::istringstream lines(slurp(out / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);)
    rewards.push_back(parse_json(line).value()["reward"].get<double>());
  ASSERT_EQ(rewards.size(), 15u);
  const double end = std::accumulate(rewards.end() - 5, rewards.end(), 0.0) / 5;
  EXPECT_GT(end, 2 * rewards.front()) << "the mean reward of the last five steps";
  EXPECT_TRUE(std::filesystem::exists(out / "checkpoints/checkpoint-15/MANIFEST.json"));
}

}  // namespace
}  // namespace fulcrum::testing
