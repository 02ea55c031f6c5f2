#include "engine/cli/verb.h"

#include <cstdio>

namespace fulcrum::cli {

int report(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "fulcrum: %s\n", status.message().c_str());
  return exit_code(status.code());
}

void add_output_option(CLI::App& verb, std::string& format) {
  verb.add_option("-o,--output", format, "how to print: table, json or jsonl")
      ->check(CLI::IsMember({"table", "json", "jsonl"}))
      ->capture_default_str();
}

}  // namespace fulcrum::cli
