// A reward model through the programs: trained, evaluated, and the same scores in process and as a service.
#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

class RewardModelTools : public Tools {
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

  Process service({program("fulcrum").string(), "reward", "--model", model, "--listen", "127.0.0.1:0"},
                  folder_.path() / "service");
  const std::string begin = "listens on ";
  ASSERT_TRUE(eventually([&] { return service.out().find('\n') != std::string::npos; })) << service.err();
  const std::string said = service.out();
  const size_t at = said.find(begin) + begin.size();
  const std::string address = said.substr(at, said.find('\n') - at);
  const auto there = rows({"score", "--reward", "service", "--set", "address=" + address, "-i", texts});
  ASSERT_EQ(there.size(), 2U);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(there[i]["score"], here[i]["score"]);
  service.signal(SIGTERM);
  EXPECT_EQ(service.wait(std::chrono::seconds(10)), 0);
}

TEST_F(RewardModelTools, ItCannotGenerate) {
  const std::string model = trained();
  const Finished f = fulcrum({"generate", "-m", model, "1+1="});
  EXPECT_EQ(f.code, 2) << f.err;
  EXPECT_NE(f.err.find("reward model"), std::string::npos) << f.err;
}

}  // namespace
}  // namespace fulcrum::testing
