// What a user or a stranger can get wrong, through the real programs: each is one line on stderr that says
// what, where and what to do, the exit code of docs/errors.md, and never a signal.
#include <unistd.h>

#include <cstring>

#include "engine/rpc/job_client.h"
#include "tests/support/tools.h"

namespace fulcrum::testing {
namespace {

using std::chrono::seconds;

class BadInput : public Tools {
 protected:
  // Exit codes of docs/errors.md.
  static constexpr int kBadInput = 2, kMissing = 3, kWrongState = 4, kNoAnswer = 5, kFull = 6, kDenied = 8;

  static void expect_error(const Finished& f, int code, const std::vector<std::string>& says) {
    EXPECT_EQ(f.code, code) << f.err;
    ASSERT_TRUE(f.err.ends_with("\n")) << f.err;
    // One line; of a run that had begun, the last one after its progress.
    std::string line = f.err.substr(0, f.err.size() - 1);
    if (line.find(" steps/s  ") != std::string::npos || line.find(" 0/") != std::string::npos)
      line = line.substr(line.rfind('\n') + 1);
    EXPECT_TRUE(line.starts_with("fulcrum: ")) << f.err;
    for (const char c : line) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20) << f.err;
    for (const std::string& part : says)
      EXPECT_NE(line.find(part), std::string::npos) << part << "\n" << f.err;
  }
  void expect_error(const std::vector<std::string>& arguments, int code,
                    const std::vector<std::string>& says) {
    SCOPED_TRACE(::testing::PrintToString(arguments));
    expect_error(fulcrum(arguments), code, says);
  }
  // The program started by a shell that first does `setup`.
  Finished after(const std::string& setup, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"/bin/sh", "-c", setup + "exec \"$@\"", "sh", program("fulcrum").string()});
    return run(arguments, folder_.path() / ("command" + std::to_string(++commands_)));
  }
  // A run that takes much longer than the test, once it has its folder.
  std::unique_ptr<Process> long_run(const std::string& folder) {
    const std::string job = small_job("long.json", {{"max_steps", 1000000}});
    auto p = std::make_unique<Process>(
        std::vector<std::string>{program("fulcrum").string(), "run", job, "--output-dir", folder},
        folder_.path() / "long");
    EXPECT_TRUE(eventually([&] { return !slurp(Path(folder) / "metrics.jsonl").empty(); })) << p->err();
    return p;
  }
};

TEST_F(BadInput, UnknownKeyNamesTheNearestOne) {
  small_model();
  const std::string job = small_job("job.json", {{"num_generation", 4}, {"epsilon_hihg", 1}});
  for (const char* verb : {"run"}) {
    expect_error({verb, job}, kBadInput,
                 {"job.json", "'num_generation'", "'num_generations'", "'epsilon_high'"});
  }
  expect_error({"config", "check", job}, kBadInput, {"'num_generations'"});
  expect_error({"job", "submit", job, "--learner", "127.0.0.1:1"}, kBadInput, {"'num_generations'"});
}

TEST_F(BadInput, KeyOutOfRangeNamesKeyAndRange) {
  expect_error({"run", small_job("job.json", {{"temperature", -1}, {"top_p", 7}, {"trainer", "trpo"}})},
               kBadInput, {"job.json", "'temperature'", "'top_p'", "'trainer'", "grpo"});
  expect_error({"config", "check", small_job("job.json"), "--set", "max_steps=0"}, kBadInput,
               {"'max_steps'"});
}

TEST_F(BadInput, ABestMetricThatNoEvaluationGivesIsRefused) {
  small_model();
  expect_error({"run", small_job("job.json", {{"metric_for_best_model", "eval_reward"}})}, kBadInput,
               {"'metric_for_best_model' does nothing without 'eval_steps'"});
  const Json eval = {
      {"metric_for_best_model", "eval_rewrad"}, {"eval_steps", 1}, {"val_files", {"train.jsonl"}}};
  expect_error({"run", small_job("job.json", eval)}, kBadInput,
               {"'eval_rewrad'", "eval_reward", "eval_pass@4"});
  write("sft.jsonl", "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n");
  Json sft = eval;
  sft["trainer"] = "sft";
  sft["train_files"] = sft["val_files"] = {"sft.jsonl"};
  sft["metric_for_best_model"] = "eval_los";
  expect_error({"run", small_job("job.json", sft), "--output-dir", path("run")}, kBadInput,
               {"'eval_los'", "eval_loss"});
}

TEST_F(BadInput, BrokenJobFileNamesLineAndColumn) {
  expect_error({"run", write("job.json", "{\n  \"trainer\": \"grpo\",\n  \"seed\" 1\n}\n")}, kBadInput,
               {"job.json", "line 3"});
  expect_error({"run", write("job.json", "{\n  \"seed\": 1,\n  \"seed\": 2\n}\n")}, kBadInput,
               {"job.json", "line 3", "'seed' is there already"});
  expect_error({"study", path("job.json")}, kBadInput, {"job.json", "line 3", "'seed' is there already"});
  expect_error({"run", write("job.json", "[1, 2]")}, kBadInput, {"job.json", "object"});
  expect_error({"run", write("job.json", std::string(100000, '['))}, kBadInput, {"job.json"});
  expect_error({"run", write("job.json", "")}, kBadInput, {"job.json"});
  expect_error({"run", folder_.path().string()}, kBadInput, {"not a regular file"});
}

TEST_F(BadInput, MissingFilesAreNamed) {
  expect_error({"run", path("absent.json")}, kMissing, {"absent.json"});
  expect_error({"run", small_job("job.json", {{"model_name_or_path", "absent"}})}, kMissing, {"absent"});
  small_model();
  expect_error({"run", small_job("job.json", {{"train_files", {"gone.jsonl"}}})}, kMissing, {"gone.jsonl"});
  expect_error({"generate", "-m", path("absent"), "hello"}, kMissing, {"absent"});
  expect_error({"logps", "-m", path("model"), "-i", path("gone.jsonl")}, kMissing, {"gone.jsonl"});
  expect_error({"checkpoint", "list", path("gone")}, kMissing, {"gone"});
  expect_error({"soup", path("model"), path("gone"), "--out", path("soup")}, kMissing, {"gone"});
}

TEST_F(BadInput, BrokenLinesOfDataNameFileAndLine) {
  const std::string model = small_model();
  const std::string job = small_job("job.json", {{"train_files", {"bad.jsonl"}}});
  const std::string good = "{\"prompt\": \"1+1=\", \"solution\": \"2\"}\n";
  for (const std::string line : {"{\"prompt\": \"1+", "[1]", "{\"question\": \"1+1=\"}", "{\"prompt\": 5}",
                                 "{\"prompt\": \"\xff\"}", "{\"prompt\": \"1+1=\"} x"}) {
    const std::string data = write("bad.jsonl", good + "\n" + line + "\n" + good);
    expect_error({"run", job}, kBadInput, {"bad.jsonl:3"});
    expect_error({"data", "check", data, "--trainer", "grpo", "-m", model}, kBadInput, {"bad.jsonl:3"});
  }
  write("bad.jsonl", "\n");
  expect_error({"run", job}, kBadInput, {"bad.jsonl"});
}

TEST_F(BadInput, PromptLongerThanTheLimitNamesItsRow) {
  small_model();
  const std::string text(40, '1');
  write("long.jsonl", "{\"prompt\": \"1\"}\n{\"prompt\": \"" + text + "\"}\n");
  expect_error({"run", small_job("job.json", {{"train_files", {"long.jsonl"}}})}, kBadInput,
               {"long.jsonl:2", "max_prompt_length"});
  // Completions end where the model ends, and the run says so before it begins.
  const Finished cut =
      fulcrum({"run", small_job("job.json", {{"max_completion_length", 4096}}), "--output-dir", path("cut")});
  EXPECT_EQ(cut.code, 0) << cut.err;
  EXPECT_NE(cut.err.find("max_completion_length 4096 is beyond the model's 64 positions"), std::string::npos)
      << cut.err;
  expect_error({"generate", "-m", path("model"), std::string(100, '1')}, kBadInput, {"101", "64"});
  const auto made =
      rows({"logps", "-m", path("model"), "-i",
            write("rows.jsonl", "{\"prompt\": \"" + std::string(100, '1') + "\", \"completion\": \"1\"}\n")},
           1);
  EXPECT_NE(made.at(0)["error"].get<std::string>().find("64"), std::string::npos) << made;
}

TEST_F(BadInput, TokenizerThatDoesNotFitTheModelIsRefused) {
  small_model();
  out({"init-model", path("other"), "--characters", "0123456789+=abcdefghij", "--hidden-size", "32"});
  const auto refused = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--tokenizer", path("other")});
    expect_error(words, kBadInput, {"other' has 26 tokens, the model only 16"});
  };
  const std::string job = small_job("job.json", {{"tokenizer", "other"}});
  expect_error({"run", job}, kBadInput, {"other' has 26 tokens, the model only 16"});
  refused({"generate", "-m", path("model"), "abc"});
  refused({"generate", "-m", path("model"), "1"});  // a prompt that both know, and the completion may not
  refused({"logps", "-m", path("model")});
  refused({"eval", "-m", path("model"), "--data", path("train.jsonl"), "--reward", "length"});
  refused({"soup", path("model"), "--out", path("soup")});
  // The other way round it is a vocabulary that was padded.
  out({"generate", "-m", path("other"), "--tokenizer", path("model"), "--max-new-tokens", "2", "1"});
}

// safetensors: eight bytes of header length, the header, the data.
std::string safetensors(uint64_t length, const std::string& header, const std::string& data = "") {
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + data;
}

// A cut file is bad input; exit code 7 is for what Fulcrum wrote and knows by its hash.
TEST_F(BadInput, TruncatedWeightsAreRefused) {
  small_model();
  const std::string whole = slurp(path("model/model.safetensors"));
  for (const size_t size : {size_t{0}, size_t{5}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write("model/model.safetensors", whole.substr(0, size));
    expect_error({"generate", "-m", path("model"), "1"}, kBadInput, {"model.safetensors"});
  }
  expect_error({"logps", "-m", path("model")}, kBadInput, {"model.safetensors"});
}

TEST_F(BadInput, HostileWeightHeadersAreRefused) {
  small_model();
  const auto one = [](const std::string& facts) {
    const std::string header = "{\"model.norm.weight\":" + facts + "}";
    return safetensors(header.size(), header, std::string(128, '\0'));
  };
  const std::vector<std::string> files = {
      safetensors(~uint64_t{0}, "{}"),
      safetensors(uint64_t{1} << 40, "{}"),
      safetensors(2, "[]"),
      safetensors(100000, std::string(100000, '[')),
      one("{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[128,0]}"),
      one("{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[0,99999999999]}"),
      one("{\"dtype\":\"F32\",\"shape\":[-32],\"data_offsets\":[0,128]}"),
      one("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,128]}"),
      one("{\"dtype\":\"F32\",\"shape\":[31],\"data_offsets\":[0,128]}"),
      one("{\"dtype\":\"X\\u001b[2J\",\"shape\":[32],\"data_offsets\":[0,128]}"),
      one("{\"dtype\":\"F32\",\"shape\":\"x\",\"data_offsets\":7}"),
      one("17")};
  for (const std::string& file : files) {
    write("model/model.safetensors", file);
    expect_error({"generate", "-m", path("model"), "1"}, kBadInput, {"model.safetensors"});
  }
}

TEST_F(BadInput, HostileModelConfigsAreRefused) {
  small_model();
  const Json good = parse_json(slurp(path("model/config.json"))).value();
  const std::vector<std::pair<std::string, Json>> wrong = {
      {"hidden_size", -1},        {"hidden_size", int64_t{1} << 60},
      {"num_attention_heads", 0}, {"vocab_size", "many"},
      {"rms_norm_eps", "x"},      {"num_hidden_layers", 1 << 30},
      {"num_key_value_heads", 3}, {"hidden_act", "relu\n"},
      {"model_type", "gpt9"},     {"architectures", {"Other"}}};
  for (const auto& [key, value] : wrong) {
    Json config = good;
    config[key] = value;
    write("model/config.json", dump_json(config));
    SCOPED_TRACE(key);
    expect_error({"generate", "-m", path("model"), "1"}, kBadInput, {"config.json"});
  }
  write("model/config.json", "{");
  expect_error({"generate", "-m", path("model"), "1"}, kBadInput, {"config.json"});
}

TEST_F(BadInput, ControlCharactersOfNamesAreEscaped) {
  const std::string name = "a\x1b[2J\nb\xe2\x80\xae";
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"run", path(name)},
                                             {"config", "check", path(name)},
                                             {"generate", "-m", path(name), "x"},
                                             {"tokenize", "-m", path(name), "x"},
                                             {"logps", "-m", path(name)},
                                             {"checkpoint", "list", path(name)},
                                             {"data", "preview", path(name)},
                                             {"soup", path(name), "--out", path("x")}}) {
    expect_error(arguments, kMissing, {"\\x1B[2J\\nb\\u{202E}"});
  }
  expect_error({"config", "explain", name}, kMissing, {"\\x1B[2J"});
  expect_error({"explain", name}, kMissing, {"\\x1B[2J"});
  expect_error({name}, kBadInput, {"\\x1B[2J"});
}

TEST_F(BadInput, ARunFolderThatIsHeldNamesItsProcess) {
  small_model();
  const auto holder = long_run(path("run"));
  expect_error({"run", small_job("job.json", {{"max_steps", 1000000}}), "--output-dir", path("run")},
               kWrongState, {"run"});
}

TEST_F(BadInput, ARunFolderOfAnotherJobIsNotContinued) {
  small_model();
  out({"run", small_job("job.json"), "--output-dir", path("run")});
  const std::string before = slurp(path("run/metrics.jsonl"));
  expect_error({"run", small_job("other.json", {{"learning_rate", 0.5}}), "--output-dir", path("run")},
               kWrongState, {"run", "learning_rate"});
  EXPECT_EQ(slurp(path("run/metrics.jsonl")), before);
  EXPECT_EQ(parse_json(slurp(path("run/config.json"))).value()["learning_rate"], 1e-6);
}

TEST_F(BadInput, APortInUseAndAStateFolderInUseAreNamed) {
  Process first({program("fulcrum").string(), "learner", "--state", path("one"), "--listen", "127.0.0.1:0"},
                folder_.path() / "first");
  ASSERT_TRUE(eventually([&] { return first.out().find("listens on ") != std::string::npos; }))
      << first.err();
  const std::string told = first.out();
  const size_t at = told.find("listens on ") + 11;
  const std::string address = told.substr(at, told.find(',', at) - at);
  expect_error({"learner", "--state", path("two"), "--listen", address}, kWrongState,
               {"127.0.0.1", address.substr(address.rfind(':') + 1)});
  EXPECT_FALSE(std::filesystem::exists(path("two"))) << "nothing was served from it";
  expect_error({"learner", "--state", path("two"), "--listen", "127.0.0.1:0", "--metrics", address},
               kWrongState, {"/metrics", address});
  EXPECT_FALSE(std::filesystem::exists(path("two")));
  expect_error({"learner", "--state", path("one"), "--listen", "127.0.0.1:0"}, kWrongState, {"one"});
}

TEST_F(BadInput, ALearnerThatIsNotThereIsFive) {
  for (const char* verb : {"list", "get", "watch", "logs", "pause", "cancel", "delete"}) {
    std::vector<std::string> arguments = {"job", verb, "--learner", "127.0.0.1:1"};
    if (std::string(verb) != "list") arguments.push_back("job-000001");
    expect_error(arguments, kNoAnswer, {"127.0.0.1:1", "fulcrum learner --state", "--learner HOST:PORT"});
  }
}

TEST_F(BadInput, AnOpenServiceOffTheLoopbackIsRefused) {
  expect_error({"learner", "--state", path("s"), "--listen", "0.0.0.0:0"}, kBadInput, {"0.0.0.0"});
  EXPECT_FALSE(std::filesystem::exists(path("s")));
}

TEST_F(BadInput, RelativePathsAndBrokenJobsOverTheWireAreRefused) {
  Process learner(
      {program("fulcrum").string(), "learner", "--state", path("state"), "--listen", "127.0.0.1:0"},
      folder_.path() / "learner");
  ASSERT_TRUE(eventually([&] { return learner.out().find("listens on ") != std::string::npos; }))
      << learner.err();
  const std::string told = learner.out();
  const size_t at = told.find("listens on ") + 11;
  auto connection = Connection::open({.address = told.substr(at, told.find(',', at) - at)});
  ASSERT_TRUE(connection.ok()) << connection.status().message();
  JobClient client(std::move(connection).value());
  const auto relative = client.submit({.name = "x",
                                       .config = R"({"trainer": "sft", "model_name_or_path": "../model",
                                                     "train_files": ["/data.jsonl"]})",
                                       .request_id = {}});
  EXPECT_EQ(relative.status().code(), Code::kInvalidArgument);
  EXPECT_NE(relative.status().message().find("'../model' is relative"), std::string::npos)
      << relative.status().message();
  for (const char* text : {"", "{", "[]", "{\"trainer\": \"sft\", \"x\x1b\": 1}"}) {
    const auto refused = client.submit({.name = "x", .config = text, .request_id = {}});
    EXPECT_EQ(refused.status().code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(refused.status().message().find_first_of("\n\x1b"), std::string::npos);
  }
  EXPECT_TRUE(learner.running());
}

TEST_F(BadInput, AFullDiskIsSixAndKeepsWhatIsThere) {
  small_model();
  const std::string job = small_job("job.json");
  // Files of at most 4 KiB: config.json fits, weights do not.
  const std::string limit = "ulimit -f 8; ";
  expect_error(after(limit, {"run", job, "--output-dir", path("run")}), kFull, {"run"});
  expect_error(after(limit, {"init-model", path("new"), "--characters", "ab"}), kFull, {"new"});
  expect_error(after(limit, {"soup", path("model"), "--out", path("soup")}), kFull, {"soup"});
  EXPECT_FALSE(std::filesystem::exists(path("soup/model.safetensors")));
  // With room again the same command goes on.
  EXPECT_EQ(out({"run", job, "--output-dir", path("run")}), path("run/checkpoints/checkpoint-2") + "\n");
  const Finished f = after("exec >/dev/full; ", {"tokenize", "-m", path("model"), "1+1"});
  expect_error(f, kFull, {"standard output"});
}

TEST_F(BadInput, AFullStandardOutputIsSixForEverythingThatIsPrinted) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"},
        {"run", "--help"},
        {"config", "schema"},
        {"explain", "-o", "json"},
        {"score", "--reward", "exact", "-i",
         write("row.jsonl", "{\"completion\": \"1\", \"solution\": \"1\"}\n")}}) {
    SCOPED_TRACE(::testing::PrintToString(arguments));
    expect_error(after("exec >/dev/full; ", arguments), kFull, {"cannot write 'standard output'"});
  }
}

TEST_F(BadInput, ARunFolderThatCannotBeMadeIsNamedWithAdvice) {
  small_model();
  expect_error({"run", small_job("job.json"), "--output-dir", "/proc/run"}, kMissing,
               {"run folder: cannot create folder '/proc/run", "choose one that can be written"});
}

TEST_F(BadInput, AWrongSplitterIsNamedAsItWasGiven) {
  small_model();
  expect_error({"config", "check", small_job("job.json", {{"splitter", "gpt3"}})}, kBadInput,
               {"key 'splitter'", "'gpt3'", "gpt2, cl100k, llama3, qwen2"});
  expect_error({"run", small_job("job.json", {{"splitter", "gpt2"}})}, kBadInput,
               {"in a job 'splitter'", "leave it out"});
  expect_error({"generate", "-m", path("model"), "--splitter", "gpt3", "1+1="}, kBadInput,
               {"--splitter", "gpt3"});
}

TEST_F(BadInput, ATemperatureThatNoLogitCanBeDividedByIsRefused) {
  small_model();
  const char* given = "1e-30";
  expect_error({"generate", "-m", path("model"), "--temperature", given, "1+1="}, kBadInput,
               {"--temperature", "'1e-30' is not a number >= 1e-6, or 0 for greedy"});
  expect_error({"logps", "-m", path("model"), "--temperature", given}, kBadInput,
               {"--temperature", "'1e-30' is not a number >= 1e-6"});
  expect_error({"config", "check", small_job("job.json", {{"temperature", 1e-30}})}, kBadInput,
               {"'temperature' must be at least 1e-6"});
  const Json eval = {{"eval_steps", 1}, {"val_files", {"train.jsonl"}}, {"eval_temperature", 1e-30}};
  expect_error({"config", "check", small_job("job.json", eval)}, kBadInput,
               {"'eval_temperature' must be 0 (greedy) or at least 1e-6"});
}

TEST_F(BadInput, AFolderThatMayNotBeWrittenIsEight) {
  small_model();
  const std::string job = small_job("job.json");
  ASSERT_TRUE(make_folders(path("locked")).ok());
  ASSERT_EQ(::chmod(path("locked").c_str(), 0500), 0);
  // root writes everywhere unless it gives that up
  const bool root = ::geteuid() == 0;
  if (root && !std::filesystem::exists("/usr/bin/setpriv")) GTEST_SKIP() << "root without setpriv";
  const std::string setup = root ? "set -- /usr/bin/setpriv --bounding-set -dac_override \"$@\"; " : "";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", job, "--output-dir", path("locked/run")},
        std::vector<std::string>{"init-model", path("locked/new"), "--characters", "ab"},
        std::vector<std::string>{"soup", path("model"), "--out", path("locked")},
        std::vector<std::string>{"learner", "--state", path("locked/state")}}) {
    SCOPED_TRACE(::testing::PrintToString(arguments));
    expect_error(after(setup, arguments), kDenied, {"locked"});
  }
}

}  // namespace
}  // namespace fulcrum::testing
