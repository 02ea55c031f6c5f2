// replay FILE...: golden files through the product's code; a line an op, exit 1 if a number is off or an op
// unknown.
#include <cstdio>

#include "engine/core/files.h"
#include "engine/core/text.h"
#include "tests/replay/replay.h"

int main(int argc, char** argv) {
  using namespace fulcrum;
  if (argc < 2) {
    std::fputs("usage: replay FILE...\n", stderr);
    return 2;
  }
  const replay::Ops ops = replay::all_ops();
  bool fine = true;
  for (int i = 1; i < argc; ++i) {
    const auto run = [&]() -> Result<std::map<std::string, replay::Tally>> {
      TRY(text, read_file(argv[i]));
      TRY(file, parse_json(text));
      return replay::replay_file(file, ops);
    };
    std::printf("%s\n", printable(argv[i], 1000).c_str());
    const auto tallies = run();
    if (!tallies.ok()) {
      std::printf("  error: %s\n", tallies.status().message().c_str());
      fine = false;
      continue;
    }
    for (const auto& [name, tally] : *tallies) {
      std::printf("  %-44s %4lld run %4lld skipped   largest error / tolerance %.3g\n", name.c_str(),
                  static_cast<long long>(tally.run()), static_cast<long long>(tally.skips()), tally.worst());
      for (const std::string& failure : tally.failures()) std::printf("    %s\n", failure.c_str());
      fine = fine && tally.failures().empty();
    }
  }
  return fine ? 0 : 1;
}
