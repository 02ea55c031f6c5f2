// Every trainer through the real programs: the job that runs in one process gives the same numbers and the
// same weights through a learner and two workers. The recipes of configs/ are jobs that are accepted and run.
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

  static std::vector<Path> recipes() {
    std::vector<Path> out;
    for (const auto& entry : std::filesystem::directory_iterator(source_folder() / "configs"))
      if (entry.path().extension() == ".json") out.push_back(entry.path());
    return out;
  }
  // Runs one step of a recipe with this test's models, data and sizes in the place of its own.
  void run_small(const Path& recipe, const std::string& reward_model) {
    Json job = parse_json(slurp(recipe), {.comments = true}).value();
    const RowFormat format = trainer_rows(job["trainer"].get<std::string>());
    const char* rows = format == RowFormat::kPrompt       ? "train.jsonl"
                       : format == RowFormat::kPreference ? "pairs.jsonl"
                                                          : "texts.jsonl";
    const Json ours = {{"model_name_or_path", "model"},
                       {"train_files", {rows}},
                       {"val_files", {rows}},
                       {"value_model", reward_model},
                       {"ref_soup", {"model", "model"}},
                       {"max_steps", 1},
                       {"prompts_per_step", 8},
                       {"max_completion_length", 8},
                       {"eval_num_generations", 4},
                       {"eval_k", {1, 4}}};
    for (const auto& [key, value] : ours.items())
      if (job.contains(key)) job[key] = value;
    if (job.value("num_generations", 1) > 4) job["num_generations"] = 4;
    if (job.contains("presample")) job["presample"].update({{"k", 4}, {"threshold", 4}});
    if (job.contains("f_dpg") && job["f_dpg"].contains("fit_samples")) job["f_dpg"]["fit_samples"] = 256;
    for (Json& judge : job["reward_funcs"]) {
      if (judge.contains("path")) judge["path"] = reward_model;
      if (judge.contains("pattern")) judge["pattern"] = judge["pattern"] == "\\bamazing\\b" ? "[0-2]" : ".";
    }
    if (job["reward_funcs"].is_null()) job.erase("reward_funcs");
    const std::string name = recipe.stem().string();
    out({"run", write(name + ".json", dump_json(job)), "--output-dir", path("recipe-" + name)});
    EXPECT_EQ(numbers(path("recipe-" + name + "/metrics.jsonl")).size(), 1u) << name;
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
    EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
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
  for (const Path& recipe : recipes()) {
    const std::string printed = out({"config", "check", recipe.string()});
    for (const std::string& trainer : trainer_names())
      if (printed.find("a valid " + trainer + " job") != std::string::npos) trainers.insert(trainer);
  }
  for (const std::string& trainer : trainer_names()) EXPECT_TRUE(trainers.contains(trainer)) << trainer;
}

TEST_F(EveryMethod, HasARecipeThatTrains) {
  rollout_job();  // the model and prompts
  write_rows();
  run_small(source_folder() / "configs/reward.json", "");  // which makes the judge of others
  const std::string reward_model = path("recipe-reward/checkpoints/checkpoint-1");
  for (const Path& recipe : recipes()) {
    SCOPED_TRACE(recipe.string());
    if (recipe.stem() != "reward") run_small(recipe, reward_model);
  }
}

}  // namespace
}  // namespace fulcrum::testing
