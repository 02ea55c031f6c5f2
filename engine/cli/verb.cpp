#include "engine/cli/verb.h"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "engine/core/files.h"
#include "engine/core/text.h"
#include "policy/text/splitters.h"
#include "rollout/sampling_config.h"

namespace fulcrum::cli {
namespace {

// "fulcrum job submit": the verb that was reached, as a user would type it.
std::string typed(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return app.get_name() + (chosen.empty() ? "" : " " + typed(*chosen.front()));
}

const CLI::App& innermost(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* verb : app.get_subcommands({})) out.push_back(verb->get_name());
  return out;
}

int bad_usage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& where = innermost(app);
  const std::string command = typed(app);
  const std::string see = "; see `" + command + " --help`";
  if (where.get_subcommands({}).empty()) return report(invalid_argument(printable(error.what(), 1000) + see));
  const std::vector<std::string> left = where.remaining(/*recurse=*/false);
  if (left.empty()) {
    std::fputs(app.help().c_str(), stderr);
    return exit_code(Code::kInvalidArgument);
  }
  const std::string near = nearest_name(left.front(), verb_names(where));
  return report(invalid_argument(in_quotes(left.front()) + " is no verb of `" + command + "`" +
                                 (near.empty() ? see : "; did you mean " + in_quotes(near) + "?")));
}

// The library takes -1 for the largest number where only positive ones are, and what is too large for the
// largest.
template <class Number>
std::string not_whole(std::string& text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return {};
  return in_quotes(text) + " is not a whole number from " +
         std::to_string(std::numeric_limits<Number>::min()) + " to " +
         std::to_string(std::numeric_limits<Number>::max());
}

// What the library leaves to each option: one value each time it is named (the words after it are the verb's
// own), and whole numbers that are some.
void settle_options(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_positional() && option->get_items_expected_max() > 1) option->allow_extra_args(false);
    const std::string type = option->get_type_name();
    if (type.starts_with("UINT")) option->check(CLI::Validator(not_whole<uint64_t>, ""));
    if (type.starts_with("INT")) option->check(CLI::Validator(not_whole<int64_t>, ""));
  }
  for (CLI::App* verb : app.get_subcommands({})) settle_options(*verb);
}

CLI::Validator number_that(const std::string& rule, bool (*fits)(double)) {
  const auto check = [=](const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = end == text.data() + text.size();
    if (whole && error == std::errc::result_out_of_range)
      return in_quotes(text) + " is out of range: no number is so large or small";
    const bool fine = error == std::errc() && whole && fits(value);
    return fine ? std::string() : in_quotes(text) + " is not a number " + rule;
  };
  return {check, rule, "number " + rule};
}

// What no other function turned into a Status: standard library exceptions, memory above all.
int guarded(const Action& action) {
  try {
    return action();
  } catch (const std::bad_alloc&) {
    return report(resource_exhausted("out of memory"));
  } catch (const std::exception& e) {
    return report(internal_error("a defect of Fulcrum, please report it: " + printable(e.what(), 500)));
  }
}

// The exit code of a program whose work ended with `code`, once all it said is written.
int flushed(int code) {
  std::cout.flush();
  const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
  if (!lost || code != 0) return code;
  return report(from_errno(errno == 0 ? EIO : errno, "cannot write", "standard output"));
}

}  // namespace

int report(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "fulcrum: %s\n", status.message().c_str());
  return exit_code(status.code());
}

void add_output_option(CLI::App& verb, std::string& format) {
  verb.add_option("-o,--output", format, "how to print: table, json or jsonl")
      ->check(CLI::IsMember({"table", "json", "jsonl"}))
      ->capture_default_str();
}

void add_splitter_option(CLI::App& verb, std::string& splitter) {
  verb.add_option("--splitter", splitter, "pre-tokenisation where the files do not say")
      ->check(CLI::IsMember(splitter_names()));
}

CLI::Validator above_zero() {
  return number_that("> 0", [](double v) { return v > 0; });
}
CLI::Validator not_negative() {
  return number_that(">= 0", [](double v) { return v >= 0; });
}

CLI::Validator temperature() {
  return number_that(">= 1e-6", [](double v) { return v >= kMinTemperature; });
}
CLI::Validator temperature_or_greedy() { return number_that(">= 1e-6, or 0 for greedy", is_temperature); }

void add_examples(CLI::App& verb, const std::vector<std::string>& examples) {
  std::string text = examples.size() == 1 ? "Example:" : "Examples:";
  for (const std::string& example : examples) text += "\n  " + example;
  verb.footer(text);
}

int run_program(CLI::App& app, Action& action, int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);  // a write that cannot be done is an error like any other,
  ::signal(SIGXFSZ, SIG_IGN);  // also at `ulimit -f`
  settle_options(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return flushed(app.exit(e));
  } catch (const CLI::ParseError& e) {
    return bad_usage(app, e);
  }
  return flushed(action ? guarded(action) : 0);
}

}  // namespace fulcrum::cli
