// The command line: each verb is one file with an add_<verb>() that declares its options and, when it was
// chosen, sets the action to run. `fulcrum` (no LibTorch) has the client verbs and hands the others to
// `fulcrum-engine`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum::cli {

// What the process does once the command line is understood; returns the exit code (docs/errors.md).
using Action = std::function<int()>;

// Declares a verb: options are parsed into `Options`, `run` gets them. `Options` lives as long as the app.
template <class Options>
CLI::App* add_verb(CLI::App& app, Action& action, const std::string& name, const std::string& doc,
                   std::function<int(const Options&)> run, std::function<void(CLI::App&, Options&)> declare) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(name, doc);
  declare(*verb, *options);
  verb->callback(
      [options, run = std::move(run), &action] { action = [options, run] { return run(*options); }; });
  return verb;
}

// Prints "fulcrum: message" to stderr unless ok; the exit code of the status.
int report(const Status& status);

// Adds -o/--output with table, json and jsonl.
void add_output_option(CLI::App& verb, std::string& format);

// Adds --splitter, by which the pre-tokenisation is chosen where a tokenizer's files do not say.
void add_splitter_option(CLI::App& verb, std::string& splitter);

// Numbers without an upper end.
CLI::Validator above_zero();
CLI::Validator not_negative();
// One that a model can divide its logits by; the other allows 0 too, greedy.
CLI::Validator temperature();
CLI::Validator temperature_or_greedy();

// Command lines that `--help` shows at its end.
void add_examples(CLI::App& verb, const std::vector<std::string>& examples);

// The whole of a program's main: reads the command line, runs what was chosen and sees that all of it reached
// stdout. A program or group without a verb shows its help and gives 2; anything else that is wrong is one
// line on stderr.
int run_program(CLI::App& app, Action& action, int argc, char** argv);

}  // namespace fulcrum::cli
