#include "engine/cli/engine/study/tasks.h"

#include <array>
#include <cmath>
#include <span>

#include "engine/cli/engine/demo_task.h"
#include "engine/core/rng.h"

namespace fulcrum::cli {
namespace {

StudyTask sums(uint64_t seed) {
  constexpr int64_t kWarmUp = 4000, kTrain = 512, kTest = 200, kOtherWarmUp = 2000, kOtherTest = 100;
  DemoTask demo = make_demo_task(seed, kWarmUp, kTrain, kTest);
  StudyTask task{.characters = demo.characters + "-", .files = {}};
  Rng rng(seed, Purpose::kDemo, {1});
  const auto difference = [&](const char* answer_key) -> Json {
    const uint64_t a = 10 + rng.below(90), b = rng.below(a + 1);
    return {{"prompt", std::to_string(a) + "-" + std::to_string(b) + "="},
            {answer_key, std::to_string(a - b)}};
  };
  for (int64_t i = 0; i < kOtherWarmUp; ++i) demo.warm_up.push_back(difference("completion"));
  std::vector<Json>& other = task.files["other"];
  for (int64_t i = 0; i < kOtherTest; ++i) other.push_back(difference("solution"));
  task.files["warm_up"] = std::move(demo.warm_up);
  task.files["train"] = std::move(demo.train);
  task.files["test"] = std::move(demo.test);
  return task;
}

constexpr const char* kPrompt = "once ";

struct Story {
  std::string text;
  int mood = 0;  // good words less bad words
};

struct Chances {
  double girl = 0.25, fox = 0.1, good = 0.3, bad = 0.5;  // of each of the two words of mood
};

template <size_t n>
const char* one_of(Rng& rng, const std::array<const char*, n>& words) {
  return words[rng.below(n)];
}

Story tell(Rng& rng, const Chances& chances) {
  static constexpr std::array<const char*, 4> kGirls = {"mia", "eva", "ana", "zoe"},
                                              kBoys = {"tom", "ben", "max", "leo"};
  static constexpr std::array<const char*, 4> kVerbs = {"saw", "met", "found", "lost"};
  static constexpr std::array<const char*, 4> kAnimals = {"dog", "cat", "owl", "bee"};
  static constexpr std::array<std::array<const char*, 3>, 3> kAdjectives = {
      {{"cold", "mean", "grim"}, {"red", "old", "big"}, {"kind", "warm", "fair"}}};
  static constexpr std::array<std::array<const char*, 2>, 3> kFeelings = {
      {{"sad", "mad"}, {"here", "home"}, {"glad", "calm"}}};
  const auto mood = [&]() -> size_t {
    const double u = rng.uniform();
    return u < chances.bad ? 0 : u < 1 - chances.good ? 1 : 2;
  };
  const bool girl = rng.uniform() < chances.girl;
  const size_t first = mood(), second = mood();
  const std::string animal = rng.uniform() < chances.fox ? "fox" : one_of(rng, kAnimals);
  Story out;
  out.text = std::string(one_of(rng, girl ? kGirls : kBoys)) + " " + one_of(rng, kVerbs) + " a " +
             one_of(rng, kAdjectives[first]) + " " + animal + ". " + (girl ? "she" : "he") + " was " +
             one_of(rng, kFeelings[second]) + ".";
  out.mood = static_cast<int>(first + second) - 2;
  return out;
}

std::vector<Json> stories_of(Rng rng, int64_t n, const Chances& chances) {
  std::vector<Json> rows;
  for (int64_t i = 0; i < n; ++i)
    rows.push_back({{"prompt", kPrompt}, {"completion", tell(rng, chances).text}});
  return rows;
}

std::vector<Json> pairs_of(Rng rng, int64_t n) {
  std::vector<Json> rows;
  while (static_cast<int64_t>(rows.size()) < n) {
    const Story a = tell(rng, {}), b = tell(rng, {});
    if (a.text == b.text) continue;
    const double a_wins = 1 / (1 + std::exp(-2.0 * (a.mood - b.mood)));
    const bool swap = rng.uniform() >= a_wins;
    rows.push_back({{"prompt", kPrompt}, {"chosen", (swap ? b : a).text}, {"rejected", (swap ? a : b).text}});
  }
  return rows;
}

StudyTask stories(uint64_t seed) {
  const auto stream = [&](uint64_t i) { return Rng(seed, Purpose::kDemo, {2, i}); };
  const Chances better{.girl = 0.25, .fox = 0.1, .good = 0.5, .bad = 0.3};
  StudyTask task{.characters = " .abcdefghijklmnopqrstuvwxyz", .files = {}};
  task.files["warm_up"] = stories_of(stream(0), 6000, {});
  task.files["tune_1"] = stories_of(stream(1), 1000, better);
  task.files["tune_2"] = stories_of(stream(2), 1000, better);
  task.files["pairs"] = pairs_of(stream(3), 4000);
  task.files["test_pairs"] = pairs_of(stream(4), 400);
  task.files["train"] = task.files["test"] = {{{"prompt", kPrompt}}};
  return task;
}

StudyTask tale() {
  StudyTask task;
  task.files["train"] = task.files["test"] = {{{"prompt", "Once upon a time"}}};
  return task;
}

}  // namespace

StudyTask make_study_task(std::string_view name, uint64_t seed) {
  if (name == "tale") return tale();
  return name == "sums" ? sums(seed) : stories(seed);
}

}  // namespace fulcrum::cli
