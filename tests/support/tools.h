// The program `fulcrum` as a user has it, for tests of its verbs: a folder of the test's own, files in it,
// and each command run to its end. One thread.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/objective/config/trainers.h"
#include "tests/support/process.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {

class Tools : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  // Writes a file into the folder; its path.
  std::string write(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(make_folders(Path(path(name)).parent_path()).ok());
    EXPECT_TRUE(write_file_atomic(path(name), text).ok());
    return path(name);
  }

  Finished fulcrum(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program("fulcrum").string());
    return run(arguments, folder_.path() / ("command" + std::to_string(++commands_)));
  }
  // What it printed, after a success.
  std::string out(const std::vector<std::string>& arguments) {
    const Finished f = fulcrum(arguments);
    EXPECT_EQ(f.code, 0) << ::testing::PrintToString(arguments) << "\n" << f.err;
    return f.out;
  }
  // The rows it printed, after a success (or the code that is named).
  std::vector<Json> rows(const std::vector<std::string>& arguments, int code = 0) {
    const Finished f = fulcrum(arguments);
    EXPECT_EQ(f.code, code) << ::testing::PrintToString(arguments) << "\n" << f.err;
    std::vector<Json> out;
    std::istringstream lines(f.out);
    for (std::string line; std::getline(lines, line);) out.push_back(parse_json(line).value());
    return out;
  }

  // A model of random weights over the characters "0123456789+="; its folder.
  std::string small_model(const std::string& name = "model", int seed = 0, int layers = 2) {
    out({"init-model", path(name), "--characters", "0123456789+=", "--hidden-size", "32", "--layers",
         std::to_string(layers), "--intermediate-size", "64", "--heads", "2", "--kv-heads", "2",
         "--max-positions", "64", "--seed", std::to_string(seed)});
    return path(name);
  }
  // A rollout job on such a model, with keys replaced; its file.
  // Without the keys of generation where the trainer does not generate.
  std::string small_job(const std::string& name, const Json& replaced = Json::object()) {
    write("train.jsonl",
          "{\"prompt\": \"1+1=\", \"solution\": \"2\"}\n{\"prompt\": \"2+3=\", \"solution\": \"5\"}\n");
    Json job = {{"trainer", "grpo"},
                {"model_name_or_path", "model"},
                {"train_files", {"train.jsonl"}},
                {"max_steps", 2},
                {"prompts_per_step", 2}};
    if (trainer_rows(replaced.value("trainer", "grpo")) == RowFormat::kPrompt) {
      job.update({{"num_generations", 2},
                  {"max_completion_length", 8},
                  {"max_prompt_length", 16},
                  {"reward_funcs", Json::array({{{"name", "length"}, {"target", 4}}})}});
    }
    return write(name, dump_json(with_keys(std::move(job), replaced), 2));
  }
  // `job` with keys replaced, and left out where null.
  static Json with_keys(Json job, const Json& replaced) {
    for (const auto& [key, value] : replaced.items()) {
      if (value.is_null())
        job.erase(key);
      else
        job[key] = value;
    }
    return job;
  }

  TempFolder folder_;
  int commands_ = 0;
};

}  // namespace fulcrum::testing
