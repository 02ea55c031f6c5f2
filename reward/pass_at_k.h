// What a policy can do in k attempts: pass@k, maj@k and their mean over problems with an interval. Called by
// evaluation. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/core/status.h"

namespace fulcrum {

// n attempts at one problem, c of them right.
struct SolveCount {
  int64_t n = 0;
  int64_t c = 0;
};

// The unbiased estimate 1 - C(n-c, k) / C(n, k) (Chen et al., "Evaluating large language models trained on
// code", 2021, eq. 1), as a product that neither overflows nor cancels. No value: k > n, or counts that make
// no sense.
std::optional<double> pass_at_k(SolveCount count, int64_t k);

// Whether pass@k is defined for each k of a list with so many attempts at each problem, and each k is there
// once. kInvalidArgument, naming list and number as their user does.
struct KNames {
  std::string list, attempts;
};
Status check_ks(std::span<const int64_t> ks, int64_t attempts, const KNames& names);

// A mean over problems with its 95 % percentile bootstrap interval: problems are drawn with replacement
// `kBootstrapSamples` times from the stream (seed, kEvaluation), so the interval is a function of the data
// and the seed.
struct Estimate {
  double mean = 0;
  double low = 0, high = 0;
  int64_t problems = 0;
};
inline constexpr int kBootstrapSamples = 1000;
// No value: no problems.
std::optional<Estimate> estimate_mean(std::span<const double> per_problem, uint64_t seed);

// Over the problems where pass@k is defined.
std::optional<Estimate> mean_pass_at_k(std::span<const SolveCount> problems, int64_t k, uint64_t seed);

// One attempt: what it answered (as text; equal answers must be equal texts) and whether that is right.
struct Vote {
  std::string answer;
  bool right = false;
};
// 1 if the most frequent answer among the first k attempts is right, else 0; of equally frequent ones the
// earliest given counts. No value: fewer than k attempts or k < 1.
std::optional<double> maj_at_k(std::span<const Vote> attempts, int64_t k);

// What training kept and what it won (c > 0 is solved). `keep_rate`: solved before and after / solved before,
// no value if nothing was solved before; `new_solve_rate`: solved only after / all problems, no value without
// problems.
struct Retention {
  std::optional<double> keep_rate;
  std::optional<double> new_solve_rate;
};
Retention retention(std::span<const SolveCount> before, std::span<const SolveCount> after);

}  // namespace fulcrum
