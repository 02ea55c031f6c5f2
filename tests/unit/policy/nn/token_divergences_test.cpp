#include "policy/nn/token_divergences.h"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <atomic>

#include "policy/nn/policy.h"

namespace fulcrum {
namespace {

constexpr int64_t kTargets = 23, kHidden = 9, kVocabulary = 31;

struct Case {
  Head policy, reference;
  at::Tensor ids, to_logps, to_divergence;  // and the gradients that flow back
};

Case make_case(at::ScalarType dtype = at::kDouble) {
  const auto wave = [&](int64_t n, double step, double phase) {
    return (at::arange(n, at::kDouble) * step + phase).sin();
  };
  Case out;
  out.policy = {wave(kTargets * kHidden, 1.3, 0).view({kTargets, kHidden}).mul(1.5).to(dtype),
                wave(kVocabulary * kHidden, 0.37, 0).view({kVocabulary, kHidden}).to(dtype)};
  out.reference = {wave(kTargets * (kHidden - 2), 1.1, 0.4).view({kTargets, kHidden - 2}).to(dtype),
                   wave(kVocabulary * (kHidden - 2), 0.53, 1).view({kVocabulary, kHidden - 2}).to(dtype)};
  out.ids = at::arange(kTargets, at::kLong).mul(7).remainder(kVocabulary);
  out.to_logps = wave(kTargets, 0.9, 0).to(dtype);
  out.to_divergence = wave(kTargets, 0.7, 2).to(dtype);
  return out;
}

std::shared_ptr<const Divergence> divergence(const std::string& name) { return *make_divergence(name, {}); }

struct Outcome {
  TokenDivergences values;
  at::Tensor hidden_gradient, weight_gradient;
};

Outcome run(const Case& c, const std::string& name, double temperature, int64_t chunk) {
  const Head policy{c.policy.hidden_ND.clone().requires_grad_(true),
                    c.policy.weight_VD.clone().requires_grad_(true)};
  Outcome out;
  out.values = token_divergences(policy, c.reference, c.ids, divergence(name), temperature, chunk);
  ((out.values.logps_N * c.to_logps).sum() + (out.values.divergence_N * c.to_divergence).sum()).backward();
  out.hidden_gradient = policy.hidden_ND.grad();
  out.weight_gradient = policy.weight_VD.grad();
  return out;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class EveryDivergence : public ::testing::TestWithParam<std::string> {};

// Autograd through the plain formulas on whole logits.
TEST_P(EveryDivergence, GivesTheValuesAndGradientsOfThePlainFormula) {
  const double temperature = 0.7;
  const Case c = make_case();
  const at::Tensor h = c.policy.hidden_ND.clone().requires_grad_(true),
                   w = c.policy.weight_VD.clone().requires_grad_(true);
  const at::Tensor log_pi = (at::matmul(h, w.t()) / temperature).log_softmax(1);
  const at::Tensor log_ref =
      (at::matmul(c.reference.hidden_ND, c.reference.weight_VD.t()) / temperature).log_softmax(1);
  const at::Tensor logps = log_pi.gather(1, c.ids.unsqueeze(1)).squeeze(1);
  const at::Tensor d = (log_ref.exp() * divergence(GetParam())->value(log_pi - log_ref)).sum(1);
  ((logps * c.to_logps).sum() + (d * c.to_divergence).sum()).backward();

  const Outcome got = run(c, GetParam(), temperature, 5);
  EXPECT_LT(distance(got.values.logps_N, logps), 1e-12);
  EXPECT_LT(distance(got.values.divergence_N, d), 1e-11);
  EXPECT_LT(distance(got.values.reference_logps_N, log_ref.gather(1, c.ids.unsqueeze(1)).squeeze(1)), 1e-12);
  EXPECT_FALSE(got.values.reference_logps_N.requires_grad());
  EXPECT_LT(distance(got.hidden_gradient, h.grad()), 1e-10);
  EXPECT_LT(distance(got.weight_gradient, w.grad()), 1e-10);
}

TEST_P(EveryDivergence, AgreesWithFiniteDifferencesOfItself) {
  Case c = make_case();
  const Outcome got = run(c, GetParam(), 1, 7);
  const double step = 1e-5;
  for (const int64_t i : {0, 50, 101, 206}) {
    const auto loss = [&](double by) {
      Case moved = c;
      moved.policy.hidden_ND = c.policy.hidden_ND.clone();
      moved.policy.hidden_ND.view(-1)[i] += by;
      const Outcome there = run(moved, GetParam(), 1, 7);
      return ((there.values.logps_N * c.to_logps).sum() + (there.values.divergence_N * c.to_divergence).sum())
          .item<double>();
    };
    const double want = (loss(step) - loss(-step)) / (2 * step);
    EXPECT_NEAR(got.hidden_gradient.view(-1)[i].item<double>(), want, 1e-7 * (1 + std::abs(want))) << i;
  }
}

TEST_P(EveryDivergence, DoesNotDependOnTheChunk) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Case c = make_case(dtype);
    const Outcome whole = run(c, GetParam(), 1, 1000);
    for (const int64_t chunk : {1, 5, 22, 23}) {
      const Outcome cut = run(c, GetParam(), 1, chunk);
      const double bound = dtype == at::kDouble ? 1e-11 : 2e-4;
      EXPECT_LT(distance(cut.values.divergence_N, whole.values.divergence_N), bound) << chunk;
      EXPECT_LT(distance(cut.hidden_gradient, whole.hidden_gradient), bound) << chunk;
      EXPECT_LT(distance(cut.weight_gradient, whole.weight_gradient), bound) << chunk;
    }
  }
}

TEST_P(EveryDivergence, IsZeroWithoutAGradientOfItsOwnWhereTheModelsAreEqual) {
  Case c = make_case(at::kFloat);
  c.reference = c.policy;
  const Outcome got = run(c, GetParam(), 1, 8);
  c.to_divergence = at::zeros_like(c.to_divergence);
  const Outcome plain = run(c, GetParam(), 1, 8);
  EXPECT_EQ(got.values.divergence_N.abs().max().item<float>(), 0.0f);
  EXPECT_LT(distance(got.hidden_gradient, plain.hidden_gradient), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Table, EveryDivergence, ::testing::ValuesIn(divergence_names()),
                         [](const auto& which) { return which.param; });

TEST(TokenDivergences, AreTokenLogpsToTheBitWhereNobodyAsksForTheDivergencesGradient) {
  Case c = make_case(at::kFloat);
  c.to_divergence = at::zeros_like(c.to_divergence);
  for (const int64_t chunk : {5, 1000}) {
    const Outcome got = run(c, "forward_kl", 0.6, chunk);
    const at::Tensor hidden = c.policy.hidden_ND.clone().requires_grad_(true),
                     weight = c.policy.weight_VD.clone().requires_grad_(true);
    const at::Tensor logps = token_logps(hidden, weight, c.ids, 0.6, chunk);
    (logps * c.to_logps).sum().backward();
    EXPECT_TRUE(got.values.logps_N.equal(logps));
    EXPECT_TRUE(got.hidden_gradient.equal(hidden.grad()));
    EXPECT_TRUE(got.weight_gradient.equal(weight.grad()));
  }
}

// One hidden state a logit, so that the logits are what the test says.
Head logits(const at::Tensor& z_NV) { return {z_NV, at::eye(z_NV.size(1), z_NV.options())}; }

TEST(TokenDivergences, StayFiniteForLogitsHundredsApart) {
  const at::Tensor z = at::tensor({300.0f, 0.0f, -300.0f}).view({1, 3}), r = z.flip({1}).contiguous();
  const Head policy{logits(z).hidden_ND.clone().requires_grad_(true), logits(z).weight_VD};
  const TokenDivergences got =
      token_divergences(policy, logits(r), at::tensor({int64_t{2}}), divergence("forward_kl"), 1, 4);
  EXPECT_FLOAT_EQ(got.divergence_N.item<float>(), 600.0f);
  got.divergence_N.sum().backward();
  EXPECT_TRUE(policy.hidden_ND.grad().equal(at::tensor({1.0f, 0.0f, -1.0f}).view({1, 3})));
}

// A row of the head that says -inf through a hidden state that is always 1: padding of the vocabulary.
Head padded(const at::Tensor& z_NV, bool pad) {
  const int64_t n = z_NV.size(0), v = z_NV.size(1);
  at::Tensor weight = at::cat({at::eye(v, z_NV.options()), at::zeros({v, 1}, z_NV.options())}, 1);
  if (pad) weight[v - 1][v] = -std::numeric_limits<double>::infinity();
  return {at::cat({z_NV, at::ones({n, 1}, z_NV.options())}, 1), weight};
}

TEST(TokenDivergences, PaddingOfBothVocabulariesCountsForNothing) {
  const at::Tensor z = at::tensor({0.5, -1.0, 2.0, 0.0}, at::kDouble).view({1, 4});
  const at::Tensor r = at::tensor({-0.25, 0.75, 1.0, 0.0}, at::kDouble).view({1, 4});
  for (const std::string& name : divergence_names()) {
    SCOPED_TRACE(name);
    const TokenDivergences got =
        token_divergences(padded(z, true), padded(r, true), at::tensor({int64_t{1}}), divergence(name), 1, 4);
    const TokenDivergences short_ones =
        token_divergences(logits(z.narrow(1, 0, 3)), logits(r.narrow(1, 0, 3)), at::tensor({int64_t{1}}),
                          divergence(name), 1, 4);
    EXPECT_NEAR(got.divergence_N.item<double>(), short_ones.divergence_N.item<double>(), 1e-14);
    EXPECT_EQ(got.logps_N.item<double>(), short_ones.logps_N.item<double>());
  }
}

TEST(TokenDivergences, ATokenOnlyTheReferenceGivesMakesTheForwardKlInfinite) {
  const at::Tensor z = at::tensor({0.5, -1.0, 2.0, 0.0}, at::kDouble).view({1, 4});
  const TokenDivergences got = token_divergences(padded(z, true), padded(z, false), at::tensor({int64_t{1}}),
                                                 divergence("forward_kl"), 1, 4);
  EXPECT_EQ(got.divergence_N.item<double>(), std::numeric_limits<double>::infinity());
}

TEST(TokenDivergences, GarbageAtATargetWithoutAGradientGivesNone) {
  Case c = make_case(at::kFloat);
  c.policy.hidden_ND[3].fill_(std::numeric_limits<float>::quiet_NaN());
  c.to_logps[3] = 0;
  c.to_divergence[3] = 0;
  const Outcome got = run(c, "forward_kl", 1, 8);
  EXPECT_EQ(got.hidden_gradient[3].abs().max().item<float>(), 0.0f);
  EXPECT_TRUE(got.hidden_gradient.isfinite().all().item<bool>());
}

// Counts the largest block that anybody allocates on the CPU while it stands.
class LargestAllocation final : public c10::Allocator {
 public:
  LargestAllocation() : inner_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, /*priority=*/255); }
  ~LargestAllocation() override { c10::SetCPUAllocator(inner_, 255); }
  c10::DataPtr allocate(size_t bytes) override {
    size_t seen = largest_.load();
    while (bytes > seen && !largest_.compare_exchange_weak(seen, bytes)) {
    }
    return inner_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    inner_->copy_data(to, from, bytes);
  }
  size_t bytes() const { return largest_; }

 private:
  c10::Allocator* inner_;
  std::atomic<size_t> largest_{0};
};

TEST(TokenDivergences, NothingOfTheSizeOfAllLogitsIsEverAllocated) {
  constexpr int64_t kMany = 512, kWide = 640, kNarrow = 8, kChunk = 16;
  const Head policy{at::rand({kMany, kNarrow}).requires_grad_(true),
                    at::rand({kWide, kNarrow}).requires_grad_(true)};
  const Head reference{at::rand({kMany, kNarrow}), at::rand({kWide, kNarrow})};
  const at::Tensor ids = at::zeros({kMany}, at::kLong);
  for (const char* name : {"forward_kl", "js_divergence"}) {
    LargestAllocation largest;
    const TokenDivergences got = token_divergences(policy, reference, ids, divergence(name), 1, kChunk);
    (got.logps_N.sum() + got.divergence_N.sum()).backward();
    EXPECT_GT(largest.bytes(), 0u);
    // One chunk in double, the type of the general path.
    EXPECT_LE(largest.bytes(), size_t{kChunk * kWide * 8}) << name;
  }
}

}  // namespace
}  // namespace fulcrum
