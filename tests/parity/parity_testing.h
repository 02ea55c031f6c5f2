// What the parity tests share: a tiny model with its data in a folder of its own, jobs on it, and what a run
// left behind in a form that can be compared bit for bit. One thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/jobs/control.h"
#include "engine/pipeline/run_job.h"
#include "policy/text/make_tokenizer.h"
#include "policy/weights/model_spec.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {

// How a run is disturbed. Empty: not at all.
struct Disturbance {
  std::optional<int64_t> stop_after;  // a stop request while the metrics of this step are recorded
  bool stop_in_stage = false;         // a stop request after the first portion of prompts
  Status reason = unavailable("interrupted");
  // Put between the job and its rollouts; may ask for a stop.
  std::function<RolloutBackend(RolloutBackend, LocalJobControl&)> rollouts;
};

// A stage before training says that a portion is done.
inline bool is_stage(const Event& event) { return event.type == "presample" || event.type == "fit_target"; }

class Lab {
 public:
  static constexpr int64_t kRows = 70;  // two portions of the presample stage

  Lab() {
    write_test_model("model", 1);
    write_test_model("other", 2);
    std::string rows;
    for (int64_t i = 0; i < kRows; ++i) {
      const std::string prompt = std::to_string(10 + i % 37) + "+" + std::to_string(i % 9) + "=";
      rows += dump_json({{"prompt", prompt},
                         {"completion", std::to_string(i * 7 % 50)},
                         {"chosen", std::to_string(i * 3 % 40)},
                         {"rejected", std::to_string(i * 5 % 90)}}) +
              "\n";
    }
    EXPECT_TRUE(write_file_atomic(path("train.jsonl"), rows).ok());
    EXPECT_TRUE(write_file_atomic(path("val.jsonl"), rows.substr(0, rows.find("\n", 400) + 1)).ok());
  }

  Path path(const std::string& name) const { return folder_.path() / name; }

  // A small job of this trainer; `keys` add to its keys or replace them.
  JobConfig job(const std::string& trainer, const Json& keys = Json::object()) const {
    Json json = {{"trainer", trainer},
                 {"model_name_or_path", path("model").string()},
                 {"train_files", {path("train.jsonl").string()}},
                 {"max_steps", 6},
                 {"prompts_per_step", 4},
                 {"learning_rate", 0.01},
                 {"save_steps", 2},
                 {"save_total_limit", 8}};
    if (trainer_rows(trainer) == RowFormat::kPrompt)
      json.update({{"num_generations", 3}, {"max_completion_length", 12}});
    if (trainer == "grpo" || trainer == "ppo") json["reward_funcs"] = {{{"name", "length"}, {"target", 4}}};
    json.update(keys);
    if (json.contains("eval_steps")) json["val_files"] = {path("val.jsonl").string()};
    auto config = parse_job(dump_json(json), {});
    EXPECT_TRUE(config.ok()) << config.status().message();
    return *config;
  }

  Status run(const JobConfig& config, const std::string& name, const Disturbance& how = {}) const {
    std::function<void(Status)> stop;
    LocalJobControl control({.progress = {},
                             .metrics =
                                 [&](int64_t step, const Json&) {
                                   if (step == how.stop_after) stop(how.reason);
                                 },
                             .event =
                                 [&](const Event& event) {
                                   if (how.stop_in_stage && is_stage(event)) stop(how.reason);
                                 }});
    stop = [&](Status reason) { control.request_stop(std::move(reason)); };
    const Backends backends{
        .rollouts = [&](const JobConfig& c, const ModelSpec& spec,
                        std::shared_ptr<const Tokenizer> tokenizer) -> Result<RolloutBackend> {
          TRY(local, local_rollouts(c, spec, std::move(tokenizer)));
          return how.rollouts ? how.rollouts(std::move(local), control) : local;
        },
        .reward_service = {}};
    return run_job(config, path(name), backends, control);
  }

  void run_whole(const JobConfig& config, const std::string& name) const {
    const Status status = run(config, name);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // metrics.jsonl without what measures the machine, line by line.
  std::vector<Json> metrics(const std::string& name) const {
    std::vector<Json> lines;
    const std::string text = read_file(path(name) / "metrics.jsonl").value();
    for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const Json row = parse_json(text.substr(begin, end - begin)).value();
      Json line = Json::object();
      for (const auto& [key, value] : row.items()) {
        if (!key.starts_with("timing_s/") && !key.starts_with("perf/")) line[key] = value;
      }
      lines.push_back(std::move(line));
    }
    return lines;
  }

  std::string file(const std::string& name, const std::string& relative) const {
    Result<std::string> bytes = read_file(path(name) / relative);
    EXPECT_TRUE(bytes.ok()) << bytes.status().message();
    return bytes.ok() ? *bytes : "";
  }
  Path checkpoint(const std::string& name, int64_t step) const {
    return path(name) / "checkpoints" / ("checkpoint-" + std::to_string(step));
  }

  // Every number of `b` is that of `a`, and every bit of its last checkpoint and of its best one; no step
  // that `b` did twice differed from what it was.
  void expect_same_runs(const JobConfig& config, const std::string& a, const std::string& b) const {
    const std::vector<Json> want = metrics(a), got = metrics(b);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(dump_json(got[i]), dump_json(want[i]));
    expect_same_checkpoints(config.max_steps, a, b);
    EXPECT_EQ(file(b, "events.jsonl").find("is not the run before it"), std::string::npos);
    if (config.eval.eval_steps == 0) return;
    const std::string best = file(a, "checkpoints/BEST");
    EXPECT_EQ(best, file(b, "checkpoints/BEST"));
    expect_same_checkpoints(parse_json(best).value()["step"].get<int64_t>(), a, b);
  }

  void expect_same_checkpoints(int64_t step, const std::string& a, const std::string& b) const {
    const std::string folder = "checkpoints/checkpoint-" + std::to_string(step) + "/";
    for (const char* name : {"model.safetensors", "fulcrum_state.safetensors", "fulcrum_state.json"}) {
      EXPECT_TRUE(file(a, folder + name) == file(b, folder + name)) << folder << name;
    }
  }

 private:
  void write_test_model(const std::string& name, uint64_t seed) const {
    ModelSpec spec;
    spec.vocab_size = 16;
    spec.hidden_size = 16;
    spec.intermediate_size = 24;
    spec.num_hidden_layers = 2;
    spec.num_attention_heads = 2;
    spec.num_key_value_heads = 1;
    spec.head_dim = 8;
    spec.max_position_embeddings = 64;
    spec.bos_token_id = 1;
    spec.eos_token_ids = {2};
    EXPECT_TRUE(make_folders(path(name)).ok());
    EXPECT_TRUE(write_character_tokenizer(path(name), "0123456789+=").ok());
    EXPECT_TRUE(write_model(path(name), random_model(spec, seed), {}).ok());
  }

  TempFolder folder_;
};

inline void expect_near_metrics(const std::vector<Json>& want, const std::vector<Json>& got) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(want[i].size(), got[i].size());
    for (const auto& [name, value] : want[i].items()) {
      const double x = value.get<double>(), y = got[i].at(name).get<double>();
      EXPECT_NEAR(x, y, 1e-5 * std::max(1.0, std::abs(x))) << name << " of step " << i + 1;
    }
  }
}

}  // namespace fulcrum::testing
