#include "engine/cli/verb.h"

#include <gtest/gtest.h>

#include <new>

namespace fulcrum::cli {
namespace {

using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

struct Ran {
  int code;
  std::string out, err;
};

struct Options {
  int number = 0;
  uint64_t seed = 0;
  std::vector<std::string> set;
  double speed = 1;
};

// A program "fulcrum" with the verb `show` and the group `job` with the verb `list`.
Ran run(std::vector<std::string> words, const std::function<int(const Options&)>& show) {
  CLI::App app("A program.", "fulcrum");
  app.require_subcommand(1);
  Action action;
  add_verb<Options>(app, action, "show", "shows a number", show, [](CLI::App& v, Options& o) {
    v.add_option("number", o.number, "the number")->required();
    v.add_option("--seed", o.seed);
    v.add_option("--set", o.set);
    v.add_option("--speed", o.speed)->check(above_zero());
    add_examples(v, {"fulcrum show 3"});
  });
  CLI::App* job = app.add_subcommand("job", "jobs");
  job->require_subcommand(1);
  add_verb<Options>(*job, action, "list", "lists", show, [](CLI::App&, Options&) {});
  words.insert(words.begin(), "fulcrum");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  CaptureStdout();
  CaptureStderr();
  const int code = run_program(app, action, static_cast<int>(argv.size()), argv.data());
  return {code, GetCapturedStdout(), GetCapturedStderr()};
}

Ran run(std::vector<std::string> words) {
  return run(std::move(words), [](const Options& o) { return o.number; });
}

TEST(Verb, GetsItsOptionsAndGivesTheExitCode) { EXPECT_EQ(run({"show", "5"}).code, 5); }

TEST(Verb, WholeNumbersOutOfRangeAreErrors) {
  for (const char* seed : {"-1", "99999999999999999999", "1.5", "0x10", ""}) {
    const Ran ran = run({"show", "--seed", seed, "5"});
    EXPECT_EQ(ran.code, 2) << seed;
    EXPECT_NE(ran.err.find("is not a whole number from 0 to 18446744073709551615"), std::string::npos)
        << ran.err;
  }
  EXPECT_EQ(run({"show", "--seed", "18446744073709551615", "5"}).code, 5);
  EXPECT_EQ(run({"show", "99999999999999999999"}).code, 2);
}

TEST(Verb, OptionsThatMayBeRepeatedTakeOneValueEachTime) {
  const auto sets = [](const Options& o) { return static_cast<int>(10 * o.set.size()) + o.number; };
  EXPECT_EQ(run({"show", "--set", "a", "--set", "b", "5"}, sets).code, 25);
  EXPECT_EQ(run({"show", "--set", "a", "5"}, sets).code, 15);
}

TEST(Verb, NumbersOutOfRangeAreNamedInShort) {
  EXPECT_EQ(run({"show", "1", "--speed", "0.5"}).code, 1);
  EXPECT_EQ(run({"show", "1", "--speed", "0"}).err,
            "fulcrum: --speed: '0' is not a number > 0; see `fulcrum show --help`\n");
  EXPECT_EQ(run({"show", "1", "--speed", "2x"}).code, 2);
  EXPECT_EQ(run({"show", "1", "--speed", "1e400"}).err,
            "fulcrum: --speed: '1e400' is out of range: no number is so large or small; see `fulcrum show "
            "--help`\n");
}

TEST(Verb, NoneAtAllShowsTheHelpAndIsTwo) {
  for (const auto& words : {std::vector<std::string>{}, std::vector<std::string>{"job"}}) {
    const Ran r = run(words);
    EXPECT_EQ(r.code, 2);
    EXPECT_NE(r.err.find("Usage: fulcrum"), std::string::npos) << r.err;
    EXPECT_NE(r.err.find("Subcommands:"), std::string::npos) << r.err;
  }
}

TEST(Verb, HelpEndsWithExamplesAndIsNoError) {
  const Ran r = run({"show", "--help"});
  EXPECT_EQ(r.code, 0);
  EXPECT_NE(r.out.find("Example:\n  fulcrum show 3\n"), std::string::npos) << r.out;
}

TEST(Verb, UnknownIsOneLineWithTheNearestName) {
  EXPECT_EQ(run({"shw"}).err, "fulcrum: 'shw' is no verb of `fulcrum`; did you mean 'show'?\n");
  EXPECT_EQ(run({"job", "lis"}).err, "fulcrum: 'lis' is no verb of `fulcrum job`; did you mean 'list'?\n");
  const Ran r = run({"job", "--what"});
  EXPECT_EQ(r.code, 2);
  EXPECT_EQ(r.err, "fulcrum: '--what' is no verb of `fulcrum job`; see `fulcrum job --help`\n");
}

TEST(Verb, BadOptionsAreOneLineThatNamesThem) {
  const Ran missing = run({"show"}), wrong = run({"show", "x\x1b[31m"}),
            surplus = run({"show", "1", "--loud"});
  for (const Ran& r : {missing, wrong, surplus}) {
    EXPECT_EQ(r.code, 2);
    EXPECT_TRUE(r.err.starts_with("fulcrum: ")) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    EXPECT_NE(r.err.find("see `fulcrum show --help`"), std::string::npos) << r.err;
    EXPECT_EQ(r.err.find('\x1b'), std::string::npos);
  }
  EXPECT_NE(missing.err.find("number is required"), std::string::npos) << missing.err;
  EXPECT_NE(surplus.err.find("--loud"), std::string::npos) << surplus.err;
}

TEST(Verb, ExceptionsOfTheLibraryNeverLeaveTheProgram) {
  const Ran memory = run({"show", "1"}, [](const Options&) -> int { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code, 6);
  EXPECT_EQ(memory.err, "fulcrum: out of memory\n");
  const Ran defect = run({"show", "1"}, [](const Options&) -> int { throw std::runtime_error("a\nb"); });
  EXPECT_EQ(defect.code, 70);
  EXPECT_EQ(std::count(defect.err.begin(), defect.err.end(), '\n'), 1);
}

}  // namespace
}  // namespace fulcrum::cli
