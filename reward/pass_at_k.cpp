#include "reward/pass_at_k.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "engine/core/rng.h"

namespace fulcrum {

std::optional<double> pass_at_k(SolveCount count, int64_t k) {
  const auto [n, c] = count;
  if (k < 1 || k > n || c < 0 || c > n) return std::nullopt;
  if (n - c < k) return 1.0;
  // C(n-c, k) / C(n, k) = prod over i = n-c+1 .. n of (1 - k / i).
  double miss = 1;
  for (int64_t i = n - c + 1; i <= n; ++i) miss *= 1 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - miss;
}

Status check_ks(std::span<const int64_t> ks, int64_t attempts, const KNames& names) {
  for (auto k = ks.begin(); k != ks.end(); ++k) {
    if (*k > attempts) {
      return invalid_argument(names.list + " has " + std::to_string(*k) + " but " + names.attempts + " is " +
                              std::to_string(attempts));
    }
    if (std::find(ks.begin(), k, *k) != k)
      return invalid_argument(names.list + " has " + std::to_string(*k) + " twice: leave one out");
  }
  return ok_status();
}

std::optional<Estimate> estimate_mean(std::span<const double> per_problem, uint64_t seed) {
  if (per_problem.empty()) return std::nullopt;
  const auto n = per_problem.size();
  double sum = 0;
  for (const double v : per_problem) sum += v;
  Rng rng(seed, Purpose::kEvaluation);
  std::vector<double> means(kBootstrapSamples);
  for (double& mean : means) {
    double drawn = 0;
    for (size_t i = 0; i < n; ++i) drawn += per_problem[rng.below(n)];
    mean = drawn / static_cast<double>(n);
  }
  std::sort(means.begin(), means.end());
  constexpr size_t kTail = kBootstrapSamples / 40;  // 2.5 %
  return Estimate{sum / static_cast<double>(n), means[kTail], means[kBootstrapSamples - 1 - kTail],
                  static_cast<int64_t>(n)};
}

std::optional<Estimate> mean_pass_at_k(std::span<const SolveCount> problems, int64_t k, uint64_t seed) {
  std::vector<double> values;
  for (const SolveCount& problem : problems) {
    if (const std::optional<double> value = pass_at_k(problem, k)) values.push_back(*value);
  }
  return estimate_mean(values, seed);
}

std::optional<double> maj_at_k(std::span<const Vote> attempts, int64_t k) {
  if (k < 1 || static_cast<size_t>(k) > attempts.size()) return std::nullopt;
  const auto voting = attempts.first(static_cast<size_t>(k));
  std::map<std::string_view, int64_t> votes;
  for (const Vote& vote : voting) ++votes[vote.answer];
  const auto winner = std::max_element(voting.begin(), voting.end(), [&](const Vote& a, const Vote& b) {
    return votes[a.answer] < votes[b.answer];  // max_element keeps the first of equals
  });
  return winner->right ? 1.0 : 0.0;
}

Retention retention(std::span<const SolveCount> before, std::span<const SolveCount> after) {
  const size_t n = std::min(before.size(), after.size());
  double solved = 0, kept = 0, won = 0;
  for (size_t i = 0; i < n; ++i) {
    if (before[i].c > 0) solved += 1;
    if (before[i].c > 0 && after[i].c > 0) kept += 1;
    if (before[i].c == 0 && after[i].c > 0) won += 1;
  }
  Retention result;
  if (solved > 0) result.keep_rate = kept / solved;
  if (n > 0) result.new_solve_rate = won / static_cast<double>(n);
  return result;
}

}  // namespace fulcrum
