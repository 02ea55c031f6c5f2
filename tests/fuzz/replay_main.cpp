// The test `fuzz`: every target over its corpus and over mutations of it, the same ones in every run. `./dev
// fuzz TARGET` is the search that goes on; what it finds becomes a file
// tests/fuzz/corpus/<target>/regression-<what>.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>

#include "engine/core/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/test_data.h"

// cmake/Fuzz.cmake gives each target's function a name of its own and lists them: TARGET(json) TARGET(jsonl)
// ...
#define TARGET(name) extern "C" int fuzz_##name(const uint8_t* data, size_t size);
FULCRUM_FUZZ_TARGETS
#undef TARGET

namespace fulcrum::fuzz {
namespace {

constexpr uint64_t kMutations = 2000;

struct Target {
  const char* name;
  int (*run)(const uint8_t* data, size_t size);
};
void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

#define TARGET(name) {#name, fuzz_##name},
constexpr Target kTargets[] = {FULCRUM_FUZZ_TARGETS};
#undef TARGET

struct Seed {
  std::string name, bytes;
};

std::vector<Seed> corpus_of(const Target& target) {
  std::vector<Seed> seeds;
  const auto folder = testing::source_folder() / "tests" / "fuzz" / "corpus" / target.name;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    std::ifstream in(entry.path(), std::ios::binary);
    seeds.push_back({entry.path().filename().string(), {std::istreambuf_iterator<char>(in), {}}});
  }
  std::sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.name < b.name; });
  return seeds;
}

// Runs one input; a broken law is told with the file that the input is kept in.
void run(const Target& target, const std::string& name, const std::string& input) {
  try {
    const std::vector<uint8_t> bytes(input.begin(),
                                     input.end());  // exactly as large, for the address sanitizer
    (void)target.run(bytes.data(), bytes.size());
  } catch (const std::exception& broken) {
    const auto kept = testing::build_folder() / ("fuzz-" + std::string(target.name) + "-" + name);
    std::ofstream(kept, std::ios::binary) << input;
    ADD_FAILURE() << target.name << ", " << name << ": " << broken.what() << "\nthe input is kept in " << kept
                  << ": " << printable(input, 400);
  }
}

class Fuzz : public ::testing::TestWithParam<Target> {};

TEST_P(Fuzz, HoldsItsLawsOnTheCorpusAndNearIt) {
  const Target& target = GetParam();
  const std::vector<Seed> corpus = corpus_of(target);
  ASSERT_FALSE(corpus.empty()) << "tests/fuzz/corpus/" << target.name
                               << " is empty: tools/make_fuzz_corpus.py fills it";
  std::vector<std::string> seeds;
  for (const Seed& seed : corpus) {
    run(target, seed.name, seed.bytes);
    seeds.push_back(seed.bytes);
  }
  Rng rng(1, Purpose::kTest);
  for (uint64_t i = 0; i < kMutations && !HasFailure(); ++i) {
    run(target, "mutation-" + std::to_string(i), mutated(seeds[rng.below(seeds.size())], seeds, rng));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, ::testing::ValuesIn(kTargets),
                         [](const ::testing::TestParamInfo<Target>& target) {
                           return std::string(target.param.name);
                         });

}  // namespace
}  // namespace fulcrum::fuzz
