// The exact divergence of rows of logits and its gradient, for every generator of the table, against sums in
// double: near the reference (fp32), far from it (double), and where tokens have no probability.
#include <algorithm>
#include <limits>

#include "engine/divergence/generators/table.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Rows {
  std::string name;
  int64_t n;
  Floats policy, reference;
  Doubles policy_lse, reference_lse;
  std::vector<int64_t> ids;
  Floats d_logps, d_divergences;

  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
  double log_pi(int64_t r, int64_t i) const { return of(policy, r, i) - policy_lse[static_cast<size_t>(r)]; }
  double log_p(int64_t r, int64_t i) const {
    return of(reference, r, i) - reference_lse[static_cast<size_t>(r)];
  }
  void normalise() {
    for (int64_t r = 0; r < rows(); ++r) {
      policy_lse.push_back(lse(policy, r));
      reference_lse.push_back(lse(reference, r));
    }
  }

 private:
  double of(const Floats& z, int64_t r, int64_t i) const { return z[static_cast<size_t>(r * n + i)]; }
  double lse(const Floats& z, int64_t r) const {
    double largest = -kInf, sum = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, of(z, r, i));
    for (int64_t i = 0; i < n; ++i) sum += std::exp(of(z, r, i) - largest);
    return largest + std::log(sum);
  }
};

// Rows of logits `apart` from each other, changed by edit(rows) before their sums are taken.
template <class Edit>
Rows make_rows(std::string name, int64_t rows, int64_t n, float apart, const Edit& edit) {
  Rows out{std::move(name) + ", n " + std::to_string(n), n, random_row(rows * n, 21, 2),
           random_row(rows * n, 22, apart)};
  for (size_t i = 0; i < out.policy.size(); ++i) out.reference[i] += out.policy[i];
  for (int64_t r = 0; r < rows; ++r) out.ids.push_back((r * 5 + 1) % n);
  out.d_logps = random_row(rows, 23);
  out.d_divergences = random_row(rows, 24);
  edit(out);
  out.normalise();
  return out;
}

std::vector<Rows> near_rows() {
  std::vector<Rows> out;
  const auto as_is = [](Rows&) {};
  for (const int64_t n : {1, 3, 16, 250, 700}) {
    for (const float apart : {0.01f, 1.5f}) out.push_back(make_rows("near", 3, n, apart, as_is));
  }
  out.push_back(make_rows("no rows", 0, 16, 1, as_is));
  out.push_back(make_rows("long", 1, 5003, 1, as_is));
  // The vocabulary is padded: neither gives these tokens anything.
  out.push_back(make_rows("padded", 2, 300, 1, [](Rows& x) {
    for (size_t r = 0; r < 2; ++r) {
      for (size_t i = 283; i < 300; ++i) x.policy[r * 300 + i] = x.reference[r * 300 + i] = -kInf;
      x.policy[r * 300 + 4] = x.reference[r * 300 + 4] = -kInf;
    }
  }));
  return out;
}

std::vector<Rows> far_rows() {
  std::vector<Rows> out;
  const auto set = [](Floats Rows::*side, float value) {
    return [=](Rows& x) { (x.*side)[17] += value, (x.*side)[40 + 11] -= value; };
  };
  for (const float far : {25.0f, 60.0f, 300.0f}) {
    out.push_back(make_rows("policy " + std::to_string(far), 2, 40, 1, set(&Rows::policy, far)));
    out.push_back(make_rows("reference " + std::to_string(far), 2, 40, 1, set(&Rows::reference, far)));
  }
  const auto never = [](Floats Rows::*side) {
    return [=](Rows& x) { (x.*side)[17] = (x.*side)[51] = -kInf; };
  };
  out.push_back(make_rows("never from the policy", 2, 40, 1, never(&Rows::policy)));
  out.push_back(make_rows("never from the reference", 2, 40, 1, never(&Rows::reference)));
  out.push_back(make_rows("padded and far", 2, 40, 1, [](Rows& x) {
    x.policy[3] = x.reference[3] = x.policy[49] = x.reference[49] = -kInf;
    x.policy[17] += 40, x.reference[45] -= 90;
  }));
  return out;
}

// As Divergence::exact() of engine/divergence has it.
template <class G>
struct Exact {
  const G& g;
  const Rows& x;
  int64_t r;

  double term(int64_t i, bool slope) const {
    const double log_pi = x.log_pi(r, i), log_p = x.log_p(r, i), pi = std::exp(log_pi), p = std::exp(log_p);
    if (p > 0) return p * (slope ? g.gradient(log_pi - log_p) : g.value(log_pi - log_p));
    return pi > 0 ? pi * g.facts().slope_at_infinity : 0;
  }
  double sum(bool slopes) const {
    double total = 0;
    for (int64_t i = 0; i < x.n; ++i) total += term(i, slopes);
    return total;
  }
  Doubles gradient() const {
    const auto at = static_cast<size_t>(r);
    const double total = sum(true);
    Doubles out;
    for (int64_t i = 0; i < x.n; ++i) {
      const double pi = std::exp(x.log_pi(r, i));
      double d = double{x.d_logps[at]} * ((i == x.ids[at]) - pi);
      if (pi > 0 || std::exp(x.log_p(r, i)) > 0)
        d += double{x.d_divergences[at]} * (term(i, true) - pi * total);
      out.push_back(d);
    }
    return out;
  }
};

struct Results {
  Floats values, gradients;
};

Results run(const Rows& x, int entry, const DivergenceOptions& options, int offset) {
  const auto rows = static_cast<size_t>(x.rows());
  const auto both = in_every_order([&] {
    Guarded<float> policy(x.policy, offset), reference(x.reference, offset), values(rows, 0, 9.0f);
    const DivergenceRows in{entry,    options, policy.data(),       reference.data(),
                            x.rows(), x.n,     x.policy_lse.data(), x.reference_lse.data()};
    EXPECT_EQ(cuda::divergences(in, values.data(), nullptr), 0);
    expect_bits(policy.values(), x.policy, "the policy's logits after divergences()");
    expect_bits(reference.values(), x.reference, "the reference's logits after divergences()");
    EXPECT_EQ(cuda::divergence_gradients(in, x.d_logps.data(), x.d_divergences.data(), x.ids.data(), nullptr),
              0);
    return std::vector<Floats>{values.values(), policy.values()};
  });
  return {both[0], both[1]};
}

// relative: of a value, and of the largest slope of its row.
void check(const std::vector<Rows>& cases, const DivergenceOptions& options, double relative, double least) {
  int entry = 0;
  for_each_generator(options, [&](std::string_view name, const auto& g) {
    const auto centred = generators::centred_of(g);
    for (const Rows& x : cases) {
      for (const int offset : kOffsets) {
        SCOPED_TRACE(std::string(name) + " alpha " + std::to_string(options.alpha) + ", " + x.name);
        const Results got = run(x, entry, options, offset);
        for (int64_t r = 0; r < x.rows(); ++r) {
          const Exact<std::remove_const_t<decltype(centred)>> exact{centred, x, r};
          const double want = exact.sum(false);
          const float value = got.values[static_cast<size_t>(r)];
          if (std::abs(want) > std::numeric_limits<float>::max()) {
            EXPECT_EQ(value, kInf);
            continue;  // its gradient is no number
          }
          EXPECT_NEAR(value, want, relative * std::abs(want) + least);
          const Doubles gradient = exact.gradient();
          double largest = 0;
          for (const double d : gradient) largest = std::max(largest, std::abs(d));
          for (int64_t i = 0; i < x.n; ++i)
            EXPECT_NEAR(got.gradients[static_cast<size_t>(r * x.n + i)], gradient[static_cast<size_t>(i)],
                        relative * largest + least)
                << "row " << r << ", token " << i;
        }
      }
    }
    ++entry;
  });
}

constexpr DivergenceOptions kOptions[] = {{}, {-1.5, 0.5}, {0, 1}, {1, 1}, {2.5, 2}};

// fp32: exponentials of a unit each over log-ratios that have lost a digit.
TEST(CudaDivergences, AreTheSumsOfTheFormulaForEveryGeneratorInFp32) {
  for (const DivergenceOptions& options : kOptions) check(near_rows(), options, 3e-6, 3e-7);
}

// Double: what is left is the rounding of the result.
TEST(CudaDivergences, AreTheSumsOfTheFormulaForEveryGeneratorInDouble) {
  for (const DivergenceOptions& options : kOptions) check(far_rows(), options, 1.3e-7, 1e-13);
}

TEST(CudaDivergences, TakeDoubleForOrdersOfAlphaThatFp32CannotHold) {
  check(near_rows(), {.alpha = 7}, 1.3e-7, 1e-13);
}

TEST(CudaDivergences, AreExactlyZeroBetweenEqualRows) {
  const Rows x = make_rows("equal", 2, 333, 0, [](Rows&) {});
  for (int entry = 0; entry < static_cast<int>(divergence_names().size()); ++entry)
    EXPECT_EQ(run(x, entry, {}, 0).values, (Floats{0, 0})) << entry;
}

// It costs a row neither its place in fp32 nor a bit.
TEST(CudaDivergences, PaddingTheVocabularyChangesNoBit) {
  const int64_t n = 284, padded_n = 300;  // of whole fours, as the rest of a four is padding too
  const Rows x = make_rows("plain", 1, n, 1, [](Rows&) {});
  Rows padded = x;
  padded.n = padded_n;
  padded.policy.resize(padded_n, -kInf);
  padded.reference.resize(padded_n, -kInf);
  for (int entry = 0; entry < static_cast<int>(divergence_names().size()); ++entry) {
    const Results want = run(x, entry, {}, 0), got = run(padded, entry, {}, 0);
    expect_bits(got.values, want.values, "values");
    expect_bits(Floats(got.gradients.begin(), got.gradients.begin() + n), want.gradients, "gradients");
    for (size_t i = n; i < got.gradients.size(); ++i) EXPECT_EQ(got.gradients[i], 0.0f);
  }
}

// Between log-probs of -709 and -745, u overflows and p is not 0 yet.
TEST(CudaDivergences, StayFiniteWhereTheyAreFinite) {
  const Rows x = make_rows("nearly nothing", 1, 40, 1, [](Rows& rows) { rows.reference[17] = -725; });
  const double pi = std::exp(x.log_pi(0, 17));
  int entry = 0;
  for (const std::string& name : divergence_names()) {
    const Results got = run(x, entry++, {.alpha = 0.5}, 0);
    const bool finite = name != "chi_squared" && name != "chi_po" && name != "jeffreys";
    EXPECT_EQ(std::isfinite(got.values[0]), finite) << name;
    if (name == "reverse_kl") {
      EXPECT_GT(got.values[0], 700 * pi);
    }
    for (const float d : got.gradients) EXPECT_TRUE(!finite || std::isfinite(d)) << name;
  }
}

TEST(CudaDivergences, ANanReachesTheValueAndTheGradient) {
  for (const size_t where : {size_t{0}, size_t{17}, size_t{39}}) {
    for (auto side : {&Rows::policy, &Rows::reference}) {
      Rows x = make_rows("nan", 1, 40, 1, [](Rows&) {});
      (x.*side)[where] = std::nanf("");
      int entry = 0;
      for (const std::string& name : divergence_names()) {
        const Results got = run(x, entry++, {}, 0);
        EXPECT_TRUE(std::isnan(got.values[0])) << name << ", " << where;
        EXPECT_TRUE(std::isnan(got.gradients[where])) << name << ", " << where;
      }
    }
  }
}

TEST(CudaDivergences, ATokenThatDoesNotCountHasNoGradientWhereTheDivergenceIsInfinite) {
  Rows x = make_rows("infinite", 1, 40, 1, [](Rows& rows) { rows.reference[17] = -kInf; });
  x.d_logps = {0};
  x.d_divergences = {0};
  for (int entry = 0; entry < static_cast<int>(divergence_names().size()); ++entry) {
    for (const float d : run(x, entry, {}, 0).gradients) EXPECT_EQ(d, 0.0f) << entry;
  }
}

TEST(CudaDivergences, RefuseAnEntryThatIsNotInTheTable) {
  const DivergenceRows in{.entry = 1000, .rows = 1, .n = 1};
  EXPECT_NE(cuda::divergences(in, nullptr, nullptr), 0);
  EXPECT_NE(cuda::divergence_gradients(in, nullptr, nullptr, nullptr, nullptr), 0);
}

}  // namespace
}  // namespace fulcrum::kernels
