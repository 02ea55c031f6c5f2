// The tools over rows and folders, as programs: what one writes another reads, and the numbers agree.
#include <algorithm>
#include <cmath>
#include <set>

#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

std::string jsonl(const std::vector<Json>& rows) {
  std::string out;
  for (const Json& row : rows) out += dump_json(row) + "\n";
  return out;
}

void expect_near(const Json& a, const Json& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i].get<double>(), b[i].get<double>(), tolerance) << i;
}

// Each test with the trained tiny model where the test data has it, else with random weights.
class ModelTools : public Tools {
 protected:
  void SetUp() override {
    const auto trained = test_data() / "tinyllama-260k/stories260K.bin";
    if (!test_data().empty() && std::filesystem::exists(trained)) {
      model_ = {"-m", trained.string(), "--tokenizer",
                (test_data() / "tinyllama-260k/tok512.model").string()};
      tokenizer_ = model_[3];
      prompts_ = {"Once upon a time", "Lily saw a", "The dog"};
    } else {
      model_ = {"-m", small_model()};
      tokenizer_ = model_[1];
      prompts_ = {"1+1=", "20+3=", "7"};
    }
  }
  std::vector<std::string> with_model(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin() + 1, model_.begin(), model_.end());
    return arguments;
  }
  std::string prompt_file() const {
    std::vector<Json> rows;
    for (const std::string& p : prompts_) rows.push_back({{"id", rows.size()}, {"prompt", p}});
    return write("prompts.jsonl", jsonl(rows));
  }

  std::vector<std::string> model_;  // the options that name it
  std::string tokenizer_;
  std::vector<std::string> prompts_;
};

TEST_F(ModelTools, TokenizeAndDecodeGiveTheTextBack) {
  std::vector<Json> texts;
  for (const std::string& p : prompts_) texts.push_back({{"text", p}});
  const auto ids = rows({"tokenize", "-m", tokenizer_, "-i", write("texts.jsonl", jsonl(texts))});
  ASSERT_EQ(ids.size(), prompts_.size());
  const auto back = rows({"tokenize", "-m", tokenizer_, "--decode", "-i", write("ids.jsonl", jsonl(ids))});
  for (size_t i = 0; i < prompts_.size(); ++i) EXPECT_EQ(back[i]["text"], prompts_[i]);
  const std::string printed = out({"tokenize", "-m", tokenizer_, prompts_[0]});
  EXPECT_EQ(parse_json(printed).value(), ids[0]["ids"]);
  EXPECT_EQ(out({"tokenize", "-m", tokenizer_, "--decode", printed}), prompts_[0] + "\n");
}

TEST_F(ModelTools, TokenizeNamesIdsThatAreNone) {
  const auto bad = rows(
      {"tokenize", "-m", tokenizer_, "--decode", "-i",
       write("ids.jsonl", "{\"ids\": [1, -5]}\n{\"ids\": \"x\"}\n{\"ids\": [1]}\n{\"ids\": [1, 70000]}\n")},
      1);
  ASSERT_EQ(bad.size(), 4u);
  EXPECT_TRUE(bad[0].contains("error"));
  EXPECT_TRUE(bad[1].contains("error"));
  EXPECT_FALSE(bad[2].contains("error"));
  EXPECT_NE(bad[3]["error"].get<std::string>().find("no id 70000"), std::string::npos) << bad[3];
  EXPECT_EQ(fulcrum({"tokenize", "-m", tokenizer_, "--decode", "[1, 70000]"}).code, 2);
  for (const char* id : {"-5", "2.5", "18446744073709551615"}) {
    const Finished f = fulcrum({"tokenize", "-m", tokenizer_, "--decode", "[1, " + std::string(id) + "]"});
    EXPECT_EQ(f.code, 2);
    EXPECT_NE(f.err.find("no id " + std::string(id) + ", only 0 to "), std::string::npos) << f.err;
  }
  const auto huge = fulcrum({"tokenize", "-m", tokenizer_, "--decode", "[99999999999999999999]"});
  EXPECT_NE(huge.err.find("no id 1e+20, only 0 to "), std::string::npos) << huge.err;
  const auto bare = fulcrum({"tokenize", "-m", tokenizer_, "--decode", "99999999999999999999"});
  EXPECT_NE(bare.err.find("ids as a list, [1, 2, 3], not 99999999999999999999"), std::string::npos)
      << bare.err;
}

TEST_F(ModelTools, GreedyIsTheSameForAPromptOnTheCommandLineAndInARow) {
  const auto made = rows(with_model({"generate", "--greedy", "--max-new-tokens", "12", "-i", prompt_file()}));
  ASSERT_EQ(made.size(), prompts_.size());
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i]["id"], i);
    EXPECT_EQ(out(with_model({"generate", "--greedy", "--max-new-tokens", "12", prompts_[i]})),
              made[i]["completion"].get<std::string>() + "\n");
  }
}

TEST_F(ModelTools, WhatIsOnTheCommandLineIsWrittenAsARowWhereOneIsAskedFor) {
  const std::vector<std::string> greedy =
      with_model({"generate", "--greedy", "--max-new-tokens", "12", prompts_[0]});
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string text = out(greedy);
  EXPECT_EQ(out(with(greedy, {"--to", path("made.jsonl")})), "");
  const Json made = parse_json(slurp(path("made.jsonl"))).value();
  EXPECT_EQ(made["prompt"], prompts_[0]);
  EXPECT_EQ(made["completion"].get<std::string>() + "\n", text);
  EXPECT_EQ(rows(with(greedy, {"-o", "jsonl"})), std::vector<Json>{made});
  EXPECT_EQ(fulcrum(with(greedy, {"-i", prompt_file()})).code, 2);  // which of them would it be?

  EXPECT_EQ(out({"tokenize", "-m", tokenizer_, prompts_[0], "--to", path("ids.jsonl")}), "");
  const Json ids = parse_json(slurp(path("ids.jsonl"))).value();
  EXPECT_EQ(ids["text"], prompts_[0]);
  EXPECT_EQ(dump_json(ids["ids"]) + "\n", out({"tokenize", "-m", tokenizer_, prompts_[0]}));
  EXPECT_EQ(
      rows({"tokenize", "-m", tokenizer_, "--decode", dump_json(ids["ids"]), "-o", "jsonl"}).at(0)["text"],
      prompts_[0]);
}

TEST_F(ModelTools, SeedsDecideSamplesAndBatchesDoNot) {
  const std::string file = prompt_file();
  const auto sample = [&](const std::string& seed, const std::string& batch) {
    return rows(with_model({"generate", "--seed", seed, "--max-batch", batch, "--temperature", "1.5",
                            "--num-generations", "3", "--max-new-tokens", "8", "-i", file}));
  };
  const auto one = sample("1", "1");
  EXPECT_EQ(one, sample("1", "32"));
  EXPECT_NE(one, sample("2", "32"));
  for (const Json& row : one) {
    ASSERT_EQ(row["completions"].size(), 3u);
    EXPECT_NE(row["completions"][0]["completion_ids"], row["completions"][1]["completion_ids"]);
  }
}

// Sampled: greedily, random weights may say nothing.
TEST_F(ModelTools, StopTextsEndACompletion) {
  const std::string file = prompt_file();
  const auto generate = [&](std::vector<std::string> more) {
    more.insert(more.begin(),
                {"generate", "--num-generations", "8", "--seed", "1", "--max-new-tokens", "16", "-i", file});
    return rows(with_model(std::move(more))).at(0)["completions"];
  };
  const auto text = [](const Json& completion) { return completion["completion"].get<std::string>(); };
  const Json whole = generate({});
  const auto longest = std::max_element(whole.begin(), whole.end(), [&](const Json& a, const Json& b) {
    return text(a).size() < text(b).size();
  });
  const std::string longer = text(*longest);
  ASSERT_GT(longer.size(), 6u);
  const std::string stop = longer.substr(3, 2);
  const Json cut = generate({"--stop", stop})[static_cast<size_t>(longest - whole.begin())];
  EXPECT_TRUE(longer.starts_with(text(cut))) << text(cut);
  EXPECT_LT(text(cut).size(), longer.size());
  EXPECT_NE(text(cut).find(stop), std::string::npos);
  EXPECT_EQ(cut["finish_reason"], "stop");
}

TEST_F(ModelTools, OneBadRowIsAnErrorFieldAndTheOthersAreGenerated) {
  const std::string file =
      write("mixed.jsonl", dump_json({{"prompt", prompts_[0]}}) + "\n{\"question\": 1}\n" + "not json\n" +
                               dump_json({{"prompt", prompts_[1]}}) + "\n");
  const auto made = rows(with_model({"generate", "--greedy", "--max-new-tokens", "4", "-i", file}), 1);
  ASSERT_EQ(made.size(), 4u);
  EXPECT_TRUE(made[0].contains("completion"));
  EXPECT_EQ(made[1]["question"], 1);
  EXPECT_TRUE(made[1].contains("error"));
  EXPECT_NE(made[2]["error"].get<std::string>().find("mixed.jsonl:3"), std::string::npos) << made[2];
  EXPECT_TRUE(made[3].contains("completion"));
}

TEST_F(Tools, ThatAPromptIsTooLongIsSaidInItsRowWithoutANumber) {
  const std::string model = small_model();
  const std::string file = write("long.jsonl", "not json\n{\"prompt\": \"1+1=\"}\n" +
                                                   dump_json({{"prompt", std::string(80, '1')}}) + "\n");
  const auto made = rows({"generate", "-m", model, "--max-new-tokens", "4", "-i", file}, 1);
  ASSERT_EQ(made.size(), 3u);
  EXPECT_TRUE(made[1].contains("completion"));
  EXPECT_EQ(made[2]["error"].get<std::string>().find("the prompt's 8"), 0u) << made[2];
}

TEST_F(ModelTools, LogpsAreThoseOfGenerate) {
  // Two forward passes: `logps` runs the learner's, `generate` the decoder's.
  const auto made =
      rows(with_model({"generate", "--seed", "5", "--max-new-tokens", "16", "-i", prompt_file()}));
  std::vector<Json> asked;
  for (const Json& row : made)
    asked.push_back({{"prompt", row["prompt"]}, {"completion", row["completion"]}});
  const auto scored = rows(with_model({"logps", "-i", write("asked.jsonl", jsonl(asked))}));
  ASSERT_EQ(scored.size(), made.size());
  int compared = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    Json ids = made[i]["completion_ids"], logps = made[i]["logps"];
    // Text does not always tokenise back into the ids that were drawn, and EOS has no text.
    if (made[i]["finish_reason"] != "length") ids.erase(ids.size() - 1), logps.erase(logps.size() - 1);
    if (scored[i]["completion_ids"] != ids) continue;
    expect_near(scored[i]["logps"], logps, 1e-4);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST_F(ModelTools, GenerateInBfloat16DrawsByRoundedWeights) {
  const auto logps = [&](const std::string& dtype) {
    const auto made = rows(
        with_model({"generate", "--greedy", "--max-new-tokens", "1", "--dtype", dtype, "-i", prompt_file()}));
    std::vector<double> out;
    for (const Json& row : made) out.push_back(row["logps"][0].get<double>());
    return out;
  };
  const std::vector<double> fp32 = logps("float32"), bf16 = logps("bfloat16");
  ASSERT_EQ(fp32.size(), bf16.size());
  double largest = 0;
  for (size_t i = 0; i < fp32.size(); ++i) largest = std::max(largest, std::abs(fp32[i] - bf16[i]));
  EXPECT_GT(largest, 1e-6);
  EXPECT_LT(largest, 0.05);
  EXPECT_EQ(fulcrum(with_model({"generate", "--dtype", "float16", "x"})).code, 2);
}

TEST_F(Tools, ScoreJudgesRowsInOrder) {
  const auto judged =
      rows({"score", "--reward", "math", "-i",
            write("rows.jsonl",
                  "{\"prompt\": \"1+1=\", \"completion\": \"\\\\boxed{2}\", \"solution\": \"2\"}\n"
                  "{\"prompt\": \"1+1=\", \"completion\": \"\\\\boxed{3}\", \"solution\": \"2\"}\n"
                  "{\"prompt\": \"1+1=\", \"solution\": \"2\"}\n")},
           1);
  ASSERT_EQ(judged.size(), 3u);
  EXPECT_EQ(judged[0]["score"], 1.0);
  EXPECT_EQ(judged[0]["verdict"], "scored");
  EXPECT_EQ(judged[1]["score"], 0.0);
  EXPECT_NE(judged[2]["error"].get<std::string>().find("'completion'"), std::string::npos);
}

TEST_F(Tools, ScoreReadsTheLengthThatGenerateWrote) {
  const std::string model = small_model();
  const std::string prompts = write("prompts.jsonl", "{\"prompt\": \"1+1=\"}\n");
  out({"generate", "-m", model, "--max-new-tokens", "4", "-i", prompts, "--to", path("made.jsonl")});
  const auto judged =
      rows({"score", "--reward", "length", "--set", "max_length=1", "-i", path("made.jsonl")});
  EXPECT_EQ(judged.at(0)["score"], judged[0]["completion_ids"].size() > 1 ? -1.0 : 0.0);
  const auto without = rows({"score", "--reward", "length", "--set", "max_length=1", "-i",
                             write("rows.jsonl", "{\"completion\": \"2\"}\n")},
                            1);
  EXPECT_NE(without.at(0)["error"].get<std::string>().find("'completion_ids'"), std::string::npos);
}

TEST_F(Tools, ScoreTakesNoPromptButText) {
  const auto judged = rows({"score", "--reward", "exact", "-i",
                            write("rows.jsonl",
                                  "{\"prompt\": [1], \"completion\": \"2\", \"solution\": \"2\"}\n"
                                  "{\"completion\": \"2\", \"solution\": \"2\"}\n")},
                           1);
  EXPECT_NE(judged.at(0)["error"].get<std::string>().find("'prompt'"), std::string::npos);
  EXPECT_EQ(judged.at(1)["score"], 1.0);
}

TEST_F(Tools, EvalPrintsPassAtKWithIntervals) {
  const std::string model = small_model();
  const std::string data = write("test.jsonl", "{\"prompt\": \"1+1=\", \"solution\": \"2\"}\n");
  const auto report = rows({"eval", "-m", model, "--data", data, "--reward", "math", "--set", "extract=whole",
                            "--num-generations", "8", "--k", "1,8", "--max-new-tokens", "4", "-o", "jsonl"});
  std::map<std::string, Json> by_name;
  for (const Json& row : report) by_name[row["metric"].get<std::string>()] = row;
  ASSERT_TRUE(by_name.contains("pass@1") && by_name.contains("pass@8") && by_name.contains("maj@8"));
  EXPECT_EQ(by_name["pass@1"]["problems"], 1);
  EXPECT_LE(by_name["pass@1"]["mean"], by_name["pass@8"]["mean"]);
  EXPECT_EQ(by_name["rewards/missing"]["mean"], 0);
  EXPECT_EQ(fulcrum({"eval", "-m", model, "--data", data, "--reward", "math", "--num-generations", "4",
                     "--dtype", "bfloat16"})
                .code,
            0);
  const auto refused = [&](const std::string& k) {
    const Finished f = fulcrum(
        {"eval", "-m", model, "--data", data, "--reward", "math", "--num-generations", "4", "--k", k});
    EXPECT_EQ(f.code, 2);
    return f.err;
  };
  EXPECT_EQ(refused("8"), "fulcrum: --k has 8 but --num-generations is 4\n");
  EXPECT_EQ(refused("2,2"), "fulcrum: --k has 2 twice: leave one out\n");
}

TEST_F(Tools, EvalGoesOnAfterABadRowAndTellsOfItAtTheEnd) {
  const std::string model = small_model();
  const auto eval = [&](const std::string& name, const std::string& lines) {
    return fulcrum({"eval", "-m", model, "--data", write(name, lines), "--reward", "length", "--set",
                    "target=2", "--num-generations", "4", "--k", "1", "--max-new-tokens", "4", "-o", "jsonl",
                    "--against", model});
  };
  const std::string good = "{\"prompt\": \"1+1=\"}\n";
  const Finished all = eval("good.jsonl", good + good);
  const Finished some = eval("mixed.jsonl", good + "{\"question\": 1}\n" + good + "not json\n");
  EXPECT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(some.code, 1);
  EXPECT_EQ(some.out, all.out);
  EXPECT_TRUE(some.err.starts_with("fulcrum: 2 rows could not be used; the first: ")) << some.err;
  EXPECT_NE(some.err.find("mixed.jsonl:2: column 'prompt' is missing"), std::string::npos) << some.err;
  EXPECT_EQ(std::count(some.err.begin(), some.err.end(), '\n'), 1) << some.err;
  EXPECT_EQ(eval("bad.jsonl", "not json\n").code, 2);
}

TEST_F(Tools, EvalWithoutSolutionsIsAnErrorNotAZero) {
  const std::string data = write("test.jsonl", "{\"prompt\": \"1+1=\"}\n");
  const Finished f = fulcrum({"eval", "-m", small_model(), "--data", data, "--reward", "math",
                              "--num-generations", "2", "--k", "1", "--max-new-tokens", "2"});
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.err.find("bad_reference: the row has none of the columns 'solution'"), std::string::npos)
      << f.err;
}

// Log-probs of a few fixed rows under a model folder.
class Folders : public Tools {
 protected:
  std::vector<Json> logps(const std::string& model) {
    return rows({"logps", "-m", model, "-i",
                 write("rows.jsonl",
                       "{\"prompt\": \"1+2=\", \"completion\": \"3\"}\n"
                       "{\"prompt\": \"40+2=\", \"completion\": \"42\"}\n")});
  }
};

TEST_F(Folders, CheckpointsAreListedAndExportedWithTheSameNumbers) {
  small_model();
  const std::string job =
      small_job("job.json", {{"max_steps", 3}, {"save_steps", 1}, {"learning_rate", 1e-2}});
  const std::string last = out({"run", job, "--output-dir", path("run")});
  EXPECT_EQ(last, path("run/checkpoints/checkpoint-3") + "\n");
  const auto listed = rows({"checkpoint", "list", path("run"), "-o", "jsonl"});
  ASSERT_EQ(listed.size(), 2u);  // save_total_limit
  EXPECT_EQ(listed.back()["step"], 3);
  for (const Json& row : listed) EXPECT_EQ(row["state"], "whole");
  const Json info = parse_json(out({"checkpoint", "info", path("run"), "--step", "2"})).value();
  EXPECT_EQ(info["step"], 2);
  EXPECT_TRUE(info["files"].contains("model.safetensors"));
  EXPECT_EQ(out({"checkpoint", "export", path("run"), "--out", path("exported")}), path("exported") + "\n");
  EXPECT_EQ(logps(path("exported")), logps(path("run/checkpoints/checkpoint-3")));
  EXPECT_NE(logps(path("exported")), logps(path("model")));
  EXPECT_EQ(fulcrum({"checkpoint", "info", path("run"), "--step", "77"}).code, 3);
}

TEST_F(Folders, SoupOfAModelWithItselfIsTheModel) {
  small_model("a", 1);
  small_model("b", 2);
  out({"soup", path("a"), path("a"), "--out", path("same")});
  EXPECT_EQ(logps(path("same")), logps(path("a")));
  out({"soup", path("a"), path("b"), "--weights", "0.25,0.75", "--out", path("mixed")});
  EXPECT_NE(logps(path("mixed")), logps(path("a")));
  EXPECT_NE(logps(path("mixed")), logps(path("b")));
  small_model("deep", 1, 3);
  const Finished f = fulcrum({"soup", path("a"), path("deep"), "--out", path("no")});
  EXPECT_EQ(f.code, 2) << f.err;
}

TEST_F(Folders, InitModelMakesEveryFamilySoThatItLoads) {
  for (const char* family : {"llama", "mistral", "qwen2"}) {
    out({"init-model", path(family), "--model-type", family, "--characters", "0123456789+=", "--hidden-size",
         "32", "--layers", "1"});
    EXPECT_EQ(logps(path(family)).size(), 2u) << family;
  }
}

TEST_F(Folders, InitModelTakesItsAlphabetFromAFileToo) {
  const std::string file = write("alphabet.txt", "0123456789+=");
  out({"init-model", path("file"), "--characters-file", file, "--hidden-size", "32", "--layers", "1"});
  out({"init-model", path("word"), "--characters", "0123456789+=", "--hidden-size", "32", "--layers", "1"});
  EXPECT_EQ(logps(path("file")), logps(path("word")));
  EXPECT_EQ(fulcrum({"init-model", path("none")}).code, 2);
  EXPECT_EQ(fulcrum({"init-model", path("both"), "--characters", "a", "--characters-file", file}).code, 2);
}

TEST_F(Folders, InitModelIsAFunctionOfItsSeed) {
  const auto one = logps(small_model("one", 1));
  EXPECT_EQ(logps(small_model("again", 1)), one);
  EXPECT_NE(logps(small_model("two", 2)), one);
}

TEST_F(Tools, ConfigVerbsReadTheSameDeclarations) {
  small_model();
  EXPECT_NE(out({"config", "check", small_job("job.json")}).find("a valid grpo job of 2 steps"),
            std::string::npos);
  const Json schema = parse_json(out({"config", "schema"})).value();
  EXPECT_TRUE(schema["properties"].contains("epsilon_high"));
  EXPECT_NE(out({"config", "explain", "epsilon_high"}).find("upper clip range"), std::string::npos);
  for (const Json& key : rows({"config", "explain", "-o", "jsonl"}))
    EXPECT_FALSE(key["what it is"].empty()) << key;
}

TEST_F(Tools, DataVerbsSayWhatAFileHolds) {
  const std::string model = small_model();
  small_job("job.json");
  EXPECT_TRUE(out({"data", "check", path("train.jsonl"), "--trainer", "grpo", "-m", model})
                  .starts_with("2 rows fit trainer grpo"));
  const auto shown = rows({"data", "preview", path("train.jsonl"), "-n", "1", "-o", "jsonl"});
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(shown[0]["prompt"], "1+1=");
  const Finished f = fulcrum({"data", "check", path("train.jsonl"), "--trainer", "dpo", "-m", model});
  EXPECT_EQ(f.code, 2);
  EXPECT_NE(f.err.find("train.jsonl:1"), std::string::npos) << f.err;
}

TEST_F(Tools, EveryMetricOfARunIsExplained) {
  small_model();
  const std::string evaluated = small_job("job.json", {{"beta", 0.1},
                                                       {"mask_truncated_completions", true},
                                                       {"eval_steps", 1},
                                                       {"val_files", {"train.jsonl"}}});
  out({"run", evaluated, "--output-dir", path("grpo")});
  out({"run",
       small_job("job.json", {{"trainer", "dph_rl"},
                              {"presample", {{"k", 1}, {"threshold", 1}}},
                              {"reward_funcs", Json::array({{{"name", "length"}, {"target", 4}}})},
                              {"correct_reward", 0.5}}),
       "--output-dir", path("dph_rl")});
  write("pairs.jsonl", "{\"prompt\": \"1+1=\", \"chosen\": \"2\", \"rejected\": \"3\"}\n");
  Json dpo = {{"trainer", "dpo"},
              {"train_files", {"pairs.jsonl"}},
              {"val_files", {"pairs.jsonl"}},
              {"eval_steps", 1}};
  out({"run", small_job("job.json", dpo), "--output-dir", path("dpo")});
  std::set<std::string> names;
  for (const char* run : {"grpo", "dph_rl", "dpo"}) {
    std::istringstream lines(slurp(path(run) + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json row = parse_json(line).value();
      for (const auto& [name, value] : row.items()) names.insert(name);
    }
  }
  EXPECT_GT(names.size(), 50u);
  for (const std::string& name : names) EXPECT_EQ(fulcrum({"explain", name}).code, 0) << name;
}

TEST_F(Tools, ExplainAndDoctorAnswer) {
  EXPECT_NE(out({"explain", "eval_pass@k"}).find("unbiased"), std::string::npos);
  EXPECT_GT(rows({"explain", "-o", "jsonl"}).size(), 20u);
  for (const auto& [name, entry] :
       std::map<std::string, std::string>{{"eval_pass@16", "eval_pass@k"},
                                          {"eval_rewards/margins", "rewards/margins"},
                                          {"timing_s/gen", "timing_s/*"},
                                          {"divergence/js_divergence", "divergence/*"}}) {
    EXPECT_EQ(rows({"explain", name, "-o", "jsonl"}).at(0)["metric"], entry);
  }
  const Finished near = fulcrum({"explain", "rewards/margin"});
  EXPECT_EQ(near.code, 3);
  EXPECT_NE(near.err.find("'rewards/margins'"), std::string::npos) << near.err;
  for (const Json& check : rows({"doctor", "-o", "jsonl"})) EXPECT_NE(check["state"], "error") << check;
}

TEST_F(Tools, EveryVerbHasHelp) {
  for (const char* verb :
       {"run", "learner", "logps", "eval", "soup", "demo", "rollout", "generate", "tokenize", "score",
        "init-model", "explain", "doctor", "job", "checkpoint", "data", "config"}) {
    EXPECT_NE(out({verb, "--help"}).find("fulcrum " + std::string(verb)), std::string::npos) << verb;
  }
}

TEST_F(Tools, GreedyTextOfTheTrainedModelIsTheDocumentedOne) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/golden_greedy.json");
  const auto folder = test_data() / "tinyllama-260k";
  const Json golden = parse_json(slurp(folder / "golden_greedy.json")).value();
  const auto made = rows({"generate", "-m", (folder / "stories260K.bin").string(), "--tokenizer",
                          (folder / "tok512.model").string(), "--greedy", "--max-new-tokens",
                          std::to_string(golden["steps"].get<int>()), "-i",
                          write("prompt.jsonl", dump_json({{"prompt", golden["prompt"]}}) + "\n")});
  EXPECT_EQ(made.at(0)["completion"], golden["text"]);
}

TEST_F(Tools, TheTokenizerBesideALlama2cFileIsFound) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/tok512.model");
  const std::string model = (test_data() / "tinyllama-260k/stories260K.bin").string();
  EXPECT_EQ(
      out({"generate", "-m", model, "--greedy", "--max-new-tokens", "30", "--stop", "y", "Once upon a"}),
      "time, there was a little girl named Lily\n");
}

TEST_F(Tools, LogpsOfTheTrainedModelAreTheReferences) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/reference.json");
  const auto folder = test_data() / "tinyllama-260k";
  const Json reference = parse_json(slurp(folder / "reference.json")).value();
  ASSERT_EQ(reference.size(), 32u);
  std::vector<Json> asked;
  for (const Json& c : reference) asked.push_back({{"prompt", ""}, {"completion", c["text"]}});
  const auto scored = rows({"logps", "-m", (folder / "stories260K.bin").string(), "--tokenizer",
                            (folder / "tok512.model").string(), "-i", write("asked.jsonl", jsonl(asked))});
  ASSERT_EQ(scored.size(), reference.size());
  for (size_t i = 0; i < scored.size(); ++i) {
    Json ids = scored[i]["completion_ids"];
    ids.insert(ids.begin(), 1);  // the prompt is BOS alone
    EXPECT_EQ(ids, reference[i]["ids"]) << reference[i]["text"];
    expect_near(scored[i]["logps"], reference[i]["logprobs"], 2e-4);
  }
}

}  // namespace
}  // namespace fulcrum::testing
