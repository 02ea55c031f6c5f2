// A reward model through the programs: trained, evaluated, the same scores in process and as a service, and
// what a job does while its service is gone.
#include <algorithm>

#include "tests/support/services.h"

namespace fulcrum::testing {
namespace {

class RewardModelTools : public Services {
 protected:
  // Trains on pairs whose rejected side begins with 9; the model's folder.
  std::string trained() {
    small_model();
    std::string pairs;
    for (int i = 0; i < 40; ++i) {
      const std::string text = std::to_string(10 + i % 7) + std::to_string(i % 5);
      pairs +=
          dump_json({{"prompt", std::to_string(i) + "="}, {"chosen", text}, {"rejected", "9" + text}}) + "\n";
    }
    write("pairs.jsonl", pairs);
    const std::string job = write("reward.json", dump_json({{"trainer", "reward"},
                                                            {"model_name_or_path", "model"},
                                                            {"train_files", {"pairs.jsonl"}},
                                                            {"prompts_per_step", 8},
                                                            {"max_steps", 40},
                                                            {"learning_rate", 0.01}}));
    std::string folder = out({"run", job, "--output-dir", path("run")});
    folder.pop_back();  // the end of the line
    return folder;
  }
  // A service that judges by the model and listens; started again, at the same address.
  std::unique_ptr<Process> service(const std::string& model) {
    auto p = std::make_unique<Process>(
        std::vector<std::string>{program("fulcrum"), "reward", "--model", model, "--listen", address_},
        path("service"));
    const std::string begin = "listens on ";
    EXPECT_TRUE(eventually([&] { return p->out().find('\n') != std::string::npos; })) << p->err();
    const std::string said = p->out();
    const size_t at = said.find(begin) + begin.size();
    address_ = said.substr(at, said.find('\n') - at);
    return p;
  }

  std::string address_ = "127.0.0.1:0";
};

TEST_F(RewardModelTools, ItsAccuracyIsMeasuredOnPreferences) {
  const std::string model = trained();
  const auto report = rows({"eval", "-m", model, "--data", path("pairs.jsonl"), "-o", "jsonl"});
  ASSERT_FALSE(report.empty());
  EXPECT_EQ(report[0]["metric"], "accuracy");
  EXPECT_EQ(report[0]["pairs"], 40);
  EXPECT_GT(report[0]["mean"].get<double>(), 0.9);
}

TEST_F(RewardModelTools, TheServiceGivesTheScoresOfTheProcess) {
  const std::string model = trained();
  const std::string texts = write("texts.jsonl",
                                  "{\"prompt\": \"3=\", \"completion\": \"124\"}\n"
                                  "{\"prompt\": \"3=\", \"completion\": \"9124\"}\n");
  const auto here = rows({"score", "--reward", "model", "--set", "path=" + model, "-i", texts});
  ASSERT_EQ(here.size(), 2U);
  EXPECT_GT(here[0]["score"].get<double>(), here[1]["score"].get<double>());

  const auto judge = service(model);
  const auto there = rows({"score", "--reward", "service", "--set", "address=" + address_, "-i", texts});
  ASSERT_EQ(there.size(), 2U);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(there[i]["score"], here[i]["score"]);
  judge->signal(SIGTERM);
  EXPECT_EQ(judge->wait(std::chrono::seconds(10)), 0);
}

TEST_F(RewardModelTools, AJobWhoseServiceIsGonePausesAtItsStepAndGoesOnWithTheSameBits) {
  constexpr int kSteps = 150;  // enough that the service is gone before they are done
  const std::string model = trained();
  auto judge = service(model);
  const std::string file = rollout_job({{"reward_funcs", {{{"name", "service"}, {"address", address_}}}},
                                        {"reward_timeout_s", 3},
                                        {"max_unscored_share", 0},  // it may go in the middle of a step
                                        {"max_steps", kSteps},
                                        {"save_steps", 0}});
  const std::vector<std::string> expected = alone(file);
  ASSERT_EQ(expected.size(), kSteps);
  const auto l = learner();
  const auto w = worker("one");
  const std::string id = submit(file);
  ASSERT_TRUE(eventually([&] { return std::ranges::count(slurp(metrics_of(id)), '\n') >= 2; }));
  judge->signal(SIGKILL);
  ASSERT_TRUE(eventually([&] { return is(id, "paused"); }));
  const auto done = static_cast<int64_t>(numbers(metrics_of(id)).size());
  EXPECT_LT(done, kSteps);
  EXPECT_EQ(step_of(id), done);
  EXPECT_NE(job("logs", id).out.find(" warn paused: "), std::string::npos) << job("logs", id).out;

  ASSERT_EQ(job("resume", id).code, 0);  // the service is still gone
  ASSERT_TRUE(eventually([&] { return is(id, "paused"); }));
  EXPECT_EQ(step_of(id), done);

  judge = service(model);
  ASSERT_EQ(job("resume", id).code, 0);
  EXPECT_EQ(job("watch", id).code, 0);
  EXPECT_EQ(difference(numbers(metrics_of(id)), expected), "");
}

TEST_F(RewardModelTools, ATokenizerThatDoesNotFitItIsRefused) {
  const std::string model = trained();
  out({"init-model", path("other"), "--characters", "0123456789+=abcdefghij", "--hidden-size", "32"});
  for (const auto& file : std::filesystem::directory_iterator(path("other"))) {
    const Path name = file.path().filename();
    if (name.string().find("token") != std::string::npos)
      std::filesystem::copy(file, model / name, std::filesystem::copy_options::overwrite_existing);
  }
  const Finished f = fulcrum({"score", "--reward", "model", "--set", "path=" + model});
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.err.find("has 26 tokens, the model only 16"), std::string::npos) << f.err;
}

TEST_F(RewardModelTools, ItCannotGenerate) {
  const std::string model = trained();
  const Finished f = fulcrum({"generate", "-m", model, "1+1="});
  EXPECT_EQ(f.code, 2) << f.err;
  EXPECT_NE(f.err.find("reward model"), std::string::npos) << f.err;
}

}  // namespace
}  // namespace fulcrum::testing
