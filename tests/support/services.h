// A learner and workers on loopback as a user starts them, and jobs sent to them, for tests of the services.
// One thread.
#pragma once

#include <memory>

#include "tests/support/tools.h"

namespace fulcrum::testing {

class Services : public Tools {
 protected:
  // Keys are replaced, and left out where null. 30 prompts ("10+1=" ...) with solutions, and the model of
  // small_model(): twelve steps of eight prompts.
  std::string rollout_job(const Json& replaced = Json::object()) {
    small_model();
    std::string rows;
    for (int i = 10; i < 40; ++i)
      rows += dump_json({{"prompt", std::to_string(i) + "+1="}, {"solution", std::to_string(i + 1)}}) + "\n";
    write("train.jsonl", rows);
    Json job = {{"trainer", "grpo"},
                {"model_name_or_path", "model"},
                {"train_files", {"train.jsonl"}},
                {"max_steps", 12},
                {"prompts_per_step", 8},
                {"num_generations", 4},
                {"max_completion_length", 16},
                {"learning_rate", 1e-3},
                {"save_steps", 4},
                {"reward_funcs", {{{"name", "length"}, {"target", 4}}}}};
    return write("job.json", dump_json(with_keys(std::move(job), replaced), 2));
  }

  // A learner that listens; started again, at the same address over the same state.
  std::unique_ptr<Process> learner(const std::vector<std::string>& options = {}) {
    std::vector<std::string> command = {program("fulcrum"), "learner",  "--state",
                                        path("state"),      "--listen", listen_};
    command.insert(command.end(), options.begin(), options.end());
    auto p = std::make_unique<Process>(command, path("learner" + std::to_string(++learners_)));
    EXPECT_TRUE(eventually([&] { return p->out().find("listens on ") != std::string::npos; })) << p->err();
    const std::string out = p->out();
    const size_t at = out.find("listens on ") + 11;
    listen_ = out.substr(at, out.find(',', at) - at);
    return p;
  }
  std::unique_ptr<Process> worker(const std::string& name) const {
    return std::make_unique<Process>(
        std::vector<std::string>{program("fulcrum"), "rollout", "--learner", listen_, "--name", name},
        path(name));
  }

  // With overrides: {"--set", "a=b", ...}.
  std::string submit(const std::string& job_file, const std::vector<std::string>& set = {}) {
    std::vector<std::string> command = {"job", "submit", job_file, "--learner", listen_};
    command.insert(command.end(), set.begin(), set.end());
    const std::string printed = out(command);
    return printed.substr(0, printed.find('\n'));
  }
  Finished job(const std::string& verb, const std::string& id) {
    return fulcrum({"job", verb, id, "--learner", listen_});
  }
  Json list() { return parse_json(out({"job", "list", "-o", "json", "--learner", listen_})).value(); }
  int64_t step_of(const std::string& id) {
    return parse_json(out({"job", "get", id, "-o", "json", "--learner", listen_})).value().at(0)["step"];
  }
  bool is(const std::string& id, const std::string& state) {
    return job("get", id).out.find(" " + state + " ") != std::string::npos;
  }
  std::string run_folder(const std::string& id) const { return path("state/runs/" + id); }
  std::string metrics_of(const std::string& id) const { return run_folder(id) + "/metrics.jsonl"; }
  // Until the job has a checkpoint of this step.
  void wait_for_checkpoint(const std::string& id, int step) const {
    const std::string manifest =
        run_folder(id) + "/checkpoints/checkpoint-" + std::to_string(step) + "/MANIFEST.json";
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(manifest); }));
  }

  // The lines of metrics.jsonl without what measures the machine.
  static std::vector<std::string> numbers(const std::string& file) {
    std::vector<std::string> out;
    std::istringstream lines(slurp(file));
    for (std::string line; std::getline(lines, line);) {
      Json kept = Json::object();
      const Json row = parse_json(line).value();
      for (const auto& [key, value] : row.items()) {
        if (!key.starts_with("timing_s/") && !key.starts_with("perf/")) kept[key] = value;
      }
      out.push_back(dump_json(kept));
    }
    return out;
  }
  // "" or the first line in which two runs differ, and both of them.
  static std::string difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    const auto [x, y] = std::ranges::mismatch(a, b);
    if (x == a.end() && y == b.end()) return "";
    const auto line = [](const auto& it, const auto& end) { return it == end ? std::string("(none)") : *it; };
    return "line " + std::to_string(x - a.begin() + 1) + ":\n" + line(x, a.end()) + "\n" + line(y, b.end());
  }
  // Those of the job in one process.
  std::vector<std::string> alone(const std::string& job_file, const std::string& folder = "alone") {
    out({"run", job_file, "--output-dir", path(folder)});
    return numbers(path(folder + "/metrics.jsonl"));
  }

 private:
  int learners_ = 0;  // each start has output files of its own
  std::string listen_ = "127.0.0.1:0";
};

}  // namespace fulcrum::testing
