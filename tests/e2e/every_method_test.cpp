// Every trainer through the real programs: the job that runs in one process gives the same numbers and the
// same weights through a learner and two workers. The recipes of configs/ are jobs that are accepted.
#include <set>

#include "engine/objective/config/trainers.h"
#include "tests/support/rank_processes.h"
#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

class EveryMethod : public Services {
 protected:
  // What a trainer's job has besides rollout_job()'s keys, or instead of them (null: without the key).
  static Json keys_of(const std::string& trainer) {
    const Json judge = {{{"name", "regex"}, {"pattern", "[0-2]"}}};
    switch (trainer_rows(trainer)) {
      case RowFormat::kCompletion:
        return without_rollouts("texts.jsonl");
      case RowFormat::kPreference:
        return without_rollouts("pairs.jsonl");
      default:
        break;
    }
    Json out = {{"reward_funcs", judge}};
    if (trainer == "dph_rl") out["presample"] = {{"k", 4}, {"threshold", 4}, {"rehearsal_per_step", 4}};
    if (trainer.ends_with("dpg")) {
      const double moment = trainer == "f_dpg" ? 0.5 : 1;
      out["f_dpg"] = {{"constraints", {{{"feature", "regex"}, {"moment", moment}}}}};
      out["prompts_per_step"] = 2;
      out["num_generations"] = 16;
    }
    return out;
  }
  static Json without_rollouts(const std::string& file) {
    return {{"train_files", {file}},
            {"num_generations", nullptr},
            {"max_completion_length", nullptr},
            {"reward_funcs", nullptr}};
  }

  std::string job_of(const std::string& trainer, const Json& more = Json::object()) {
    Json keys = keys_of(trainer);
    keys.update(more);
    keys["trainer"] = trainer;
    keys["max_steps"] = 4;
    keys["save_steps"] = 2;
    return rollout_job(keys);
  }
  void write_rows() const {
    std::string texts, pairs;
    for (int i = 10; i < 40; ++i) {
      const std::string prompt = std::to_string(i) + "+1=", good = std::to_string(i + 1), bad = "7";
      texts += dump_json({{"prompt", prompt}, {"completion", good}}) + "\n";
      pairs += dump_json({{"prompt", prompt}, {"chosen", good}, {"rejected", bad}}) + "\n";
    }
    write("texts.jsonl", texts);
    write("pairs.jsonl", pairs);
  }
};

TEST_F(EveryMethod, GivesInOneProcessWhatItGivesOnACluster) {
  write_rows();
  const auto l = learner();
  const auto one = worker("one"), two = worker("two");
  for (const std::string& trainer : trainer_names()) {
    SCOPED_TRACE(trainer);
    const std::string file = job_of(trainer);
    const std::vector<std::string> expected = alone(file, "alone-" + trainer);
    EXPECT_EQ(expected.size(), 4u);
    const std::string id = submit(file);
    const Finished watched = job("watch", id);
    EXPECT_EQ(watched.code, 0) << watched.err;
    EXPECT_TRUE(numbers(metrics_of(id)) == expected) << "see " << metrics_of(id);
    const std::string model = "/checkpoints/checkpoint-4/model.safetensors";
    EXPECT_TRUE(slurp(run_folder(id) + model) == slurp(path("alone-" + trainer) + model));
  }
}

TEST_F(EveryMethod, GivesOnTwoRanksTheLossesAndWeightsOfOneTo1e6) {
  write_rows();
  for (const std::string& trainer : trainer_names()) {
    SCOPED_TRACE(trainer);
    const std::string file = job_of(trainer, {{"learning_rate", 1e-5}});
    const std::vector<std::string> expected = alone(file, "alone-" + trainer);
    const std::string folder = path("ranks-" + trainer);
    const auto ranks =
        start_ranks(2, {program("fulcrum"), "run", file, "--output-dir", folder}, path("rank-" + trainer));
    for (const auto& rank : ranks) EXPECT_EQ(rank->wait(std::chrono::seconds(60)), 0) << rank->err();
    expect_close_metrics(numbers(folder + "/metrics.jsonl"), expected, 1e-6);
    const std::string model = "/checkpoints/checkpoint-4/model.safetensors";
    EXPECT_LT(largest_difference(folder + model, path("alone-" + trainer) + model), 1e-6);
  }
}

TEST_F(EveryMethod, HasARecipeThatIsAValidJob) {
  std::set<std::string> trainers;
  for (const auto& entry : std::filesystem::directory_iterator(source_folder() / "configs")) {
    if (entry.path().extension() != ".json") continue;
    const std::string printed = out({"config", "check", entry.path().string()});
    for (const std::string& trainer : trainer_names())
      if (printed.find("a valid " + trainer + " job") != std::string::npos) trainers.insert(trainer);
  }
  for (const std::string& trainer : trainer_names()) EXPECT_TRUE(trainers.contains(trainer)) << trainer;
}

}  // namespace
}  // namespace fulcrum::testing
