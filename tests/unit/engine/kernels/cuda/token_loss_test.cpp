// The loss of a token and its gradient, against sums in double and the CPU's reference.
#include <algorithm>
#include <limits>

#include "engine/kernels/token_loss/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

using Floats = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Logits {
  int64_t rows, n;
  float scale, temperature;
  Floats values;
  std::vector<int64_t> ids;

  Logits(int64_t rows_, int64_t n_, float scale_, float temperature_)
      : rows(rows_),
        n(n_),
        scale(scale_),
        temperature(temperature_),
        values(random_row(rows_ * n_, 11, scale_)) {
    for (int64_t r = 0; r < rows; ++r) ids.push_back((r * 7919 + 3) % n);
    // Some tokens that cannot be: whole fours of them, and at the beginning.
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < n; ++i) {
        if ((i < 9 && r == 1 && n > 20) || i % 13 == 5) values[static_cast<size_t>(r * n + i)] = -kInf;
      }
      values[static_cast<size_t>(r * n + ids[static_cast<size_t>(r)])] = 0.25f * static_cast<float>(r);
    }
  }
  std::string name() const {
    return "rows " + std::to_string(rows) + ", n " + std::to_string(n) + ", scale " + std::to_string(scale);
  }
  float z(int64_t r, int64_t i) const {
    const float logit = values[static_cast<size_t>(r * n + i)];
    return temperature != 1 ? logit / temperature : logit;
  }
  double lse(int64_t r) const {
    double largest = -kInf, sum = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, double{z(r, i)});
    for (int64_t i = 0; i < n; ++i) sum += std::exp(z(r, i) - largest);
    return largest + std::log(sum);
  }
  double entropy(int64_t r) const {
    const double total = lse(r);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double below = z(r, i) - total;
      if (std::exp(below) > 0) sum -= std::exp(below) * below;
    }
    return sum;
  }
};

std::vector<Logits> cases() {
  std::vector<Logits> out;
  for (const int64_t n : {1, 2, 3, 4, 7, 33, 128, 511, 520, 4099, 9001}) {
    out.emplace_back(n > 4000 ? 2 : 4, n, 2.0f, 1.0f);
    out.emplace_back(3, n, 20.0f, 0.7f);
  }
  out.emplace_back(0, 16, 1.0f, 1.0f);
  return out;
}

struct Losses {
  Floats logps, entropies;
  std::vector<double> lse;
};

Losses losses(const Logits& c, int offset, bool with_entropy) {
  Losses out;
  const auto rows = static_cast<size_t>(c.rows);
  const auto floats = in_every_order([&] {
    Guarded<float> logits(c.values, offset), logps(rows, 0), entropies(rows, 0, 9.0f);
    Guarded<double> lse(rows, 0);
    const LossRows in{logits.data(), c.rows, c.n, c.temperature, c.ids.data()};
    EXPECT_EQ(
        cuda::token_losses(in, logps.data(), lse.data(), with_entropy ? entropies.data() : nullptr, nullptr),
        0);
    if (!out.lse.empty()) expect_bits(out.lse, lse.values(), "lse");
    out.lse = lse.values();
    return std::vector<Floats>{logps.values(), entropies.values()};
  });
  out.logps = floats[0];
  out.entropies = floats[1];
  return out;
}

TEST(CudaTokenLoss, IsTheSumInDouble) {
  for (const Logits& c : cases()) {
    Losses before;
    for (const int offset : kOffsets) {
      const Losses plain = losses(c, offset, false), full = losses(c, offset, true);
      expect_bits(plain.logps, full.logps, "with and without entropy");
      expect_bits(plain.lse, full.lse, "with and without entropy");
      if (offset > 0) expect_bits(before.logps, full.logps, "at another address");
      if (offset > 0) expect_bits(before.lse, full.lse, "at another address");
      before = full;
      for (size_t r = 0; r < full.logps.size(); ++r) {
        const auto row = static_cast<int64_t>(r);
        const double lse = c.lse(row);
        // Exponentials of a unit each, and differences of logits rounded to fp32.
        EXPECT_NEAR(full.lse[r], lse, 4e-7) << c.name();
        expect_close(full.logps[r], c.z(row, c.ids[r]) - lse, 4, 1, c.name());
        expect_close(full.entropies[r], c.entropy(row), 8, 1, c.name());
      }
    }
  }
}

TEST(CudaTokenLoss, OfTheOnlyTokenIsZero) {
  const Losses out = losses(Logits(4, 1, 2, 1), 0, true);
  for (size_t r = 0; r < 4; ++r) {
    EXPECT_EQ(out.logps[r], 0.0f);
    EXPECT_EQ(out.entropies[r], 0.0f);
    EXPECT_EQ(out.lse[r], 0.25 * static_cast<double>(r));
  }
}

TEST(CudaTokenLoss, ANanAmongTheLogitsReachesTheLogProb) {
  for (const size_t where : {size_t{0}, size_t{1}, size_t{600}, size_t{699}}) {
    for (const float others : {1.0f, -kInf}) {
      Floats z(700, others);
      z[5] = 2;
      z[where] = std::nanf("");
      const int64_t id = 5;
      float logp = 0, entropy = 0;
      double lse = 0;
      ASSERT_EQ(cuda::token_losses({z.data(), 1, 700, 1, &id}, &logp, &lse, &entropy, nullptr), 0);
      EXPECT_TRUE(std::isnan(logp)) << where;
      EXPECT_TRUE(std::isnan(lse)) << where;
    }
  }
}

TEST(CudaTokenLoss, BackwardIsTheReference) {
  for (const Logits& c : cases()) {
    Floats coefficients = random_row(c.rows, 12), want = c.values;
    if (c.rows > 2) coefficients[2] = 0;
    std::vector<double> lse;
    for (int64_t r = 0; r < c.rows; ++r) {
      lse.push_back(c.lse(r));
      reference::token_loss_backward(
          {want.data() + r * c.n, c.n, c.temperature, static_cast<int32_t>(c.ids[static_cast<size_t>(r)])},
          lse.back(), coefficients[static_cast<size_t>(r)]);
    }
    for (const int offset : kOffsets) {
      const auto got = in_every_order([&] {
        Guarded<float> logits(c.values, offset);
        EXPECT_EQ(cuda::token_loss_gradients({logits.data(), c.rows, c.n, c.temperature, c.ids.data()},
                                             lse.data(), coefficients.data(), nullptr),
                  0);
        return std::vector<Floats>{logits.values()};
      });
      // Two exponentials that may differ by a unit; the CPU's is 0 below e^-87.
      expect_close(got[0], want, 4, 1e-30, c.name());
    }
  }
}

}  // namespace
}  // namespace fulcrum::kernels
