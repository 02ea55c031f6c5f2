// The keys of a study: several jobs from one start, measured side by side over seeds (configs/papers/). Read
// by `fulcrum study`. Values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/core/config.h"
#include "engine/core/files.h"
#include "reward/reward_config.h"
#include "rollout/sampling_config.h"

namespace fulcrum::cli {

// The small Llama a study begins with.
struct StudyModel {
  int64_t hidden_size = 128;
  int64_t num_hidden_layers = 5;
  int64_t num_attention_heads = 4;
  int64_t max_position_embeddings = 64;

  void visit(ConfigVisitor& v) {
    v.field("hidden_size", hidden_size, between(8, 4096), "width of the model made for the study");
    v.field("num_hidden_layers", num_hidden_layers, between(1, 64), "its layers");
    v.field("num_attention_heads", num_attention_heads, between(1, 64), "its heads; they divide hidden_size");
    v.field("max_position_embeddings", max_position_embeddings, between(8, 8192),
            "longest text it takes, in tokens");
  }
};

// One model of the study: made by a job, or mixed from others. Stages run in order, before the arms.
struct StudyStage {
  std::string name;
  std::string job;
  std::vector<std::string> set;
  std::vector<std::string> soup;
  std::vector<double> soup_weights;
  std::string colour;

  void visit(ConfigVisitor& v) {
    v.field("name", name, "what tables call it; later jobs find its model as models/<name>");
    v.field("job", job, "job file beside the study's; paths in it are relative to the seed's folder");
    v.field("set", set, "keys over the job file's, as key=value");
    v.field("soup", soup,
            "instead of a job: names of models whose average this one is; init: the study's first model");
    v.field("soup_weights", soup_weights, any_value(), "weights of the soup; empty: equal");
    v.field("colour", colour, "of its curve, #rrggbb; empty: the next of the palette");
  }
};

struct StudyMeasure {
  std::string label;
  std::vector<std::string> files = {"data/test.jsonl"};
  std::vector<RewardConfig> reward_funcs;
  std::optional<double> correct_reward;
  int64_t num_generations = 16;
  std::vector<int64_t> k = {1, 4, 16};
  double temperature = 1.0;
  int64_t max_completion_length = 32;
  bool all_checkpoints = false;

  void visit(ConfigVisitor& v) {
    v.field("label", label, "put before the names of its values, as label/pass@1; empty: the main measure");
    v.field("files", files, "JSONL files of prompts, relative to the seed's folder");
    v.list("reward_funcs", reward_funcs, "the judges");
    v.field("correct_reward", correct_reward, any_value(),
            "reward from which a completion counts as correct; null: the sum of the positive weights");
    v.field("num_generations", num_generations, between(1, 4096), "samples of each prompt");
    v.field("k", k, at_least(1), "values of k for pass@k");
    v.field("temperature", temperature, at_least(kMinTemperature), "softmax temperature of the samples");
    v.field("max_completion_length", max_completion_length, at_least(1), "tokens a sample may have");
    v.field("all_checkpoints", all_checkpoints,
            "measure every checkpoint that was kept, not the last one only");
  }
};

struct StudyChart {
  std::string file, title, x, y, x_label, y_label;

  void visit(ConfigVisitor& v) {
    v.field("file", file, "name of the SVG");
    v.field("title", title, "above it");
    v.field("x", x, "value on the x axis: k, step, a measured value or a metric of the run");
    v.field("y", y, "value on the y axis; pass@k with x: k");
    v.field("x_label", x_label, "empty: the name of x");
    v.field("y_label", y_label, "empty: the name of y");
  }
};

struct StudyConfig {
  std::string title, task;
  StudyModel model;
  std::vector<StudyStage> stages, arms;
  std::string base;
  std::vector<StudyMeasure> measures;
  std::vector<std::string> columns;
  std::vector<StudyChart> charts;

  void visit(ConfigVisitor& v) {
    v.field("title", title, "above the table");
    v.field("task", task, Choices{{"sums", "stories", "tale"}},
            "the generated data: data/*.jsonl and, but for tale, a tokenizer; tale is for a model of yours "
            "(--model)");
    v.section("model", model, "the small Llama of models/init");
    v.list("stages", stages, "models that the arms begin with, made once a seed");
    v.list("arms", arms, "what is compared");
    v.field("base", base,
            "the stage whose model divergences, keep rates and the first row of the table are of");
    v.list("measures", measures, "what is measured of each model");
    v.field("columns", columns, "values that make the table");
    v.list("charts", charts, "the pictures");
  }
};

// The models of the table: the base, then the arms.
std::vector<StudyStage> compared_models(const StudyConfig& study);

// A study file; what single keys cannot say is checked too (names that are not there, twice, or not plain
// file names). kInvalidArgument.
Result<StudyConfig> load_study(const Path& file);

}  // namespace fulcrum::cli
