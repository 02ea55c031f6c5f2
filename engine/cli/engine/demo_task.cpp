#include "engine/cli/engine/demo_task.h"

#include "engine/core/rng.h"

namespace fulcrum::cli {
namespace {

constexpr int64_t kFirst = 10, kLast = 99;
constexpr int64_t kSide = kLast - kFirst + 1;

struct Problem {
  int64_t a, b;
  std::string prompt() const { return std::to_string(a) + "+" + std::to_string(b) + "="; }
  std::string solution() const { return std::to_string(a + b); }
};

// One correct answer in one of three forms.
std::string answer(const Problem& p, uint64_t form) {
  const int64_t sum = p.a + p.b;
  switch (form) {
    case 0:
      return std::to_string(sum);
    case 1:
      return std::to_string(sum / 10 * 10) + "+" + std::to_string(sum % 10);
    default:
      return std::to_string((p.a / 10 + p.b / 10) * 10) + "+" + std::to_string(p.a % 10 + p.b % 10);
  }
}

}  // namespace

DemoTask make_demo_task(uint64_t seed, int64_t warm_up, int64_t train, int64_t test) {
  Rng rng(seed, Purpose::kDemo);
  const std::vector<int64_t> order = rng.permutation(kSide * kSide);
  DemoTask task{.characters = "0123456789+=", .warm_up = {}, .train = {}, .test = {}};
  size_t next = 0;
  auto problem = [&] {
    for (;;) {
      const int64_t code = order[next++ % order.size()];
      const Problem p{kFirst + code / kSide, kFirst + code % kSide};
      if (p.a % 10 != 0) return p;
    }
  };
  auto asked = [&](std::vector<Json>& into, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const Problem p = problem();
      into.push_back({{"prompt", p.prompt()}, {"solution", p.solution()}});
    }
  };
  asked(task.test, test);
  asked(task.train, train);
  for (int64_t i = 0; i < warm_up; ++i) {
    const Problem p = problem();
    task.warm_up.push_back({{"prompt", p.prompt()}, {"completion", answer(p, rng.below(3))}});
  }
  return task;
}

}  // namespace fulcrum::cli
