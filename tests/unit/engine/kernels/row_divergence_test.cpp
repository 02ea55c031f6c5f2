#include "engine/kernels/row_divergence/op.h"

#include <cmath>
#include <limits>

#include "engine/kernels/row_divergence/target.h"
#include "tests/unit/engine/kernels/kernel_testing.h"

namespace fulcrum::kernels {
namespace {

using Row = std::vector<float>;

Row random_row(int64_t n, uint64_t seed, float scale) {
  const AlignedFloats values = random_floats(n, seed, scale);
  return {values.data(), values.data() + n};
}

double lse_of(const Row& z) {
  double sum = 0;
  for (const float v : z) sum += std::exp(double{v});
  return std::log(sum);
}

struct Case {
  Row policy, reference;
  DivergenceRow row(Row& p, Row& r) const {
    return {p.data(), r.data(), static_cast<int64_t>(p.size()), lse_of(policy), lse_of(reference)};
  }
};

// A peaked policy a little and far away from its reference.
std::vector<Case> cases() {
  std::vector<Case> out;
  for (const int64_t n : {3, 16, 250, 700}) {
    for (const float apart : {0.01f, 1.5f}) {
      Case c{random_row(n, 1, 2), random_row(n, 2, apart)};
      for (size_t i = 0; i < c.reference.size(); ++i) c.reference[i] += c.policy[i];
      out.push_back(std::move(c));
    }
  }
  return out;
}

// The sums of the formulas in double, from the generators themselves.
template <class G>
struct Exact {
  const G& g;
  const Case& c;

  double log_pi(size_t i) const { return double{c.policy[i]} - lse_of(c.policy); }
  double log_p(size_t i) const { return double{c.reference[i]} - lse_of(c.reference); }
  double value() const {
    double sum = 0;
    for (size_t i = 0; i < c.policy.size(); ++i) sum += std::exp(log_p(i)) * g.value(log_pi(i) - log_p(i));
    return sum;
  }
  double slope(size_t i) const { return std::exp(log_p(i)) * g.gradient(log_pi(i) - log_p(i)); }
  std::vector<double> gradient(const RowDivergence::Upstream& up) const {
    std::vector<double> out;
    double sum = 0;
    for (size_t i = 0; i < c.policy.size(); ++i) sum += slope(i);
    for (size_t i = 0; i < c.policy.size(); ++i) {
      const double pi = std::exp(log_pi(i));
      out.push_back(up.logp * ((static_cast<int64_t>(i) == up.id) - pi) +
                    up.divergence * (slope(i) - pi * sum));
    }
    return out;
  }
};

TEST(RowDivergence, IsTheSumOfTheFormulaForEveryGeneratorAndSoIsItsGradient) {
  const RowDivergence::Upstream up{-0.7f, 1.3f, 1};
  for (const DivergenceOptions& options : {DivergenceOptions{}, {-1.5, 0.5}, {0, 1}, {1, 1}, {2.5, 2}}) {
    for_each_generator(options, [&](std::string_view name, const auto& g) {
      const auto centred = generators::centred_of(g);
      const auto kernel = RowDivergence::find(name, options);
      if (!kernel) GTEST_SKIP() << "no kernel on this machine";
      for (const Case& c : cases()) {
        SCOPED_TRACE(std::string(name) + " alpha " + std::to_string(options.alpha) + " n " +
                     std::to_string(c.policy.size()));
        const Exact<std::remove_const_t<decltype(centred)>> exact{centred, c};
        Row p = c.policy, r = c.reference;
        const auto value = kernel->value(c.row(p, r));
        ASSERT_TRUE(value.has_value());
        EXPECT_NEAR(*value, exact.value(), 2e-6 + 1e-5 * std::abs(exact.value()));
        const std::vector<double> gradient = exact.gradient(up);
        double largest = 0;
        for (const double slope : gradient) largest = std::max(largest, std::abs(slope));
        ASSERT_TRUE(kernel->gradient(c.row(p, r), up));
        for (size_t i = 0; i < p.size(); i += 5) EXPECT_NEAR(p[i], gradient[i], 1e-5 * largest + 1e-6);
      }
    });
  }
}

// A log sum exp rounded to fp32 costs such rows a digit: the reference's probabilities no longer add up to 1.
TEST(RowDivergence, KeepsItsDigitsBetweenSharpRows) {
  const auto kernel = RowDivergence::find("forward_kl", {});
  if (!kernel) GTEST_SKIP() << "no kernel on this machine";
  double worst = 0, rounded = 0;
  int near = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Case c{random_row(50, seed, 2), random_row(50, seed + 100, 2)};
    c.policy[11] += 17.1f;  // the reference is sure of two other tokens
    c.policy[7] += 5;
    c.reference[7] += 21.3f;
    c.policy[8] += 4;
    c.reference[8] += 20;
    c.reference[11] += 5;
    Row p = c.policy, r = c.reference;
    const DivergenceRow row = c.row(p, r);
    const auto value = kernel->value(row);
    if (!value) continue;  // far apart
    ++near;
    const generators::CentredForwardKl g;
    const double want = Exact<generators::CentredForwardKl>{g, c}.value();
    DivergenceRow in_floats = row;
    in_floats.reference_lse = static_cast<float>(row.reference_lse);
    worst = std::max(worst, std::abs(*value / want - 1));
    rounded = std::max(rounded, std::abs(*kernel->value(in_floats) / want - 1));
  }
  EXPECT_GT(near, 10);
  EXPECT_LT(worst, 5e-7);
  EXPECT_GT(rounded, 1e-6);
}

TEST(RowDivergence, IsExactlyZeroBetweenEqualRows) {
  for (const std::string& name : divergence_names()) {
    const auto kernel = RowDivergence::find(name, {});
    if (!kernel) GTEST_SKIP() << "no kernel on this machine";
    Row p = random_row(100, 3, 2), r = p;
    EXPECT_EQ(kernel->value({p.data(), r.data(), 100, lse_of(p), lse_of(p)}), 0.0) << name;
  }
}

TEST(RowDivergence, LeavesToDoubleWhatFp32CannotHold) {
  const auto kernel = RowDivergence::find("chi_squared", {});
  if (!kernel) GTEST_SKIP() << "no kernel on this machine";
  EXPECT_FALSE(RowDivergence::find("alpha_divergence", {.alpha = 7}).has_value());
  EXPECT_FALSE(RowDivergence::find("adjoint of chi_squared", {}).has_value());
  for (const float far :
       {25.0f, -25.0f, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    Row p = random_row(40, 4, 1), r = p;
    r[39] += far;
    const Row before_p = p, before_r = r;
    const DivergenceRow row{p.data(), r.data(), 40, 4, 4};
    EXPECT_FALSE(kernel->value(row).has_value());
    EXPECT_FALSE(kernel->gradient(row, {1, 1, 0}));
    expect_same_bits(p.data(), before_p.data(), 40, "policy");
    expect_same_bits(r.data(), before_r.data(), 40, "reference");
  }
}

// A NaN among vectors of numbers, wherever it stands: 0 over 0 where neither has probability.
TEST(RowDivergence, LeavesToDoubleARowWithATokenThatNeitherGives) {
  const auto kernel = RowDivergence::find("js_divergence", {});
  if (!kernel) GTEST_SKIP() << "no kernel on this machine";
  for (const size_t where : {size_t{3}, size_t{40}, size_t{63}}) {
    Row p = random_row(64, 5, 1), r = random_row(64, 6, 1);
    p[where] = r[where] = -std::numeric_limits<float>::infinity();
    const DivergenceRow row{p.data(), r.data(), 64, 4, 4};
    EXPECT_FALSE(kernel->value(row).has_value()) << where;
    EXPECT_FALSE(kernel->gradient(row, {1, 1, 0})) << where;
  }
}

TEST(RowDivergence, HasTheSameBitsWithAvx2AndAvx512) {
  if (!(hwy::SupportedTargets() & HWY_AVX3)) GTEST_SKIP() << "this machine has no AVX-512";
  int entry = 0;
  for (const std::string& name : divergence_names()) {
    SCOPED_TRACE(name);
    for (const Case& c : cases()) {
      Row p2 = c.policy, r2 = c.reference, p5 = c.policy, r5 = c.reference;
      const auto n = static_cast<int64_t>(p2.size());
      const auto task = [&](Row& p, Row& r) {
        return DivergenceTask{entry, 0.3, 1, p.data(), r.data(), n, lse_of(c.policy), lse_of(c.reference)};
      };
      double v2 = 0, v5 = 0;
      ASSERT_TRUE(row_divergence_value_avx2(task(p2, r2), &v2));
      ASSERT_TRUE(row_divergence_value_avx512(task(p5, r5), &v5));
      EXPECT_EQ(v2, v5);
      ASSERT_TRUE(row_divergence_gradient_avx2(task(p2, r2), 0.5f, -1, 2));
      ASSERT_TRUE(row_divergence_gradient_avx512(task(p5, r5), 0.5f, -1, 2));
      expect_same_bits(p2.data(), p5.data(), n, "gradient");
    }
    ++entry;
  }
}

}  // namespace
}  // namespace fulcrum::kernels
