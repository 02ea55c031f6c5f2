#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/nn/head_memory.h"
#include "policy/nn/policy.h"

namespace fulcrum {
namespace {

constexpr int64_t kTargets = 37, kHidden = 12, kVocabulary = 50;

struct Case {
  at::Tensor hidden, weight, ids, upstream;
};

Case make_case() {
  Case out;
  const auto wave = [](int64_t n, double step) { return (at::arange(n, at::kDouble) * step).sin(); };
  out.hidden = wave(kTargets * kHidden, 1.3).view({kTargets, kHidden}).mul(2);
  out.weight = wave(kVocabulary * kHidden, 0.37).view({kVocabulary, kHidden}).mul(1.5);
  out.ids = at::arange(kTargets, at::kLong).mul(7).remainder(kVocabulary);
  out.upstream = wave(kTargets, 0.9);
  return out;
}

class ChunkAndTemperature : public ::testing::TestWithParam<std::tuple<int64_t, double>> {};

TEST_P(ChunkAndTemperature, GivesTheValuesAndGradientsOfThePlainFormula) {
  const auto [chunk, temperature] = GetParam();
  const Case c = make_case();
  const at::Tensor h = c.hidden.clone().set_requires_grad(true), w = c.weight.clone().set_requires_grad(true);
  const at::Tensor plain = (at::matmul(h, w.t()) / temperature).log_softmax(-1);
  const at::Tensor expected = plain.gather(1, c.ids.unsqueeze(1)).squeeze(1);
  const at::Tensor expected_entropy = -(plain.exp() * plain).sum(1);
  expected.backward(c.upstream);

  const at::Tensor hidden = c.hidden.to(at::kFloat).set_requires_grad(true);
  const at::Tensor weight = c.weight.to(at::kFloat).set_requires_grad(true);
  at::Tensor entropy;
  const at::Tensor logps = token_logps(hidden, weight, c.ids, temperature, chunk, &entropy);
  logps.backward(c.upstream.to(at::kFloat));
  const auto near = [](const at::Tensor& got, const at::Tensor& want) {
    return (got.to(at::kDouble) - want).abs().max().item<double>();
  };
  EXPECT_LT(near(logps, expected), 1e-5);
  EXPECT_LT(near(entropy, expected_entropy), 1e-5);
  EXPECT_FALSE(entropy.requires_grad());
  EXPECT_LT(near(hidden.grad(), h.grad()), 1e-5);
  EXPECT_LT(near(weight.grad(), w.grad()), 1e-5);
  EXPECT_TRUE(logps.equal(token_logps(hidden, weight, c.ids, temperature, chunk)));
}

INSTANTIATE_TEST_SUITE_P(All, ChunkAndTemperature,
                         ::testing::Combine(::testing::Values(1, 5, 36, 37, 1000),
                                            ::testing::Values(1.0, 0.6, 2.0)));

// As the learner does it: parts forward and backward in turn, the weight's gradient put beside autograd, in
// two steps, the second in the room of the first.
TEST(TokenLogps, PartsThatShareMemoryAddUpToTheWhole) {
  const Case c = make_case();
  const at::Tensor upstream = c.upstream.to(at::kFloat);
  const at::Tensor hidden = c.hidden.to(at::kFloat).set_requires_grad(true);
  const at::Tensor weight = c.weight.to(at::kFloat).set_requires_grad(true);
  const at::Tensor whole = token_logps(hidden, weight, c.ids, 0.6, 1000);
  whole.backward(upstream);
  for (const int64_t chunk : {1000, 4}) {  // a part's logits are kept, or made again but for the last chunk
    const at::Tensor leaf = weight.detach().requires_grad_(true);
    HeadMemory memory{
        .weight_gradient = c10::make_intrusive<WeightGradient>(leaf), .logits = {}, .reference_logits = {}};
    at::Tensor first;
    for (const int step : {1, 2}) {
      int64_t begin = 0;
      for (const int64_t n : {10, 20, 7}) {
        const at::Tensor part = hidden.detach().narrow(0, begin, n).clone().set_requires_grad(true);
        const at::Tensor shared = weight.detach().requires_grad_(true);
        const at::Tensor logps =
            token_logps(part, shared, c.ids.narrow(0, begin, n), 0.6, chunk, nullptr, &memory);
        logps.backward(upstream.narrow(0, begin, n));
        EXPECT_TRUE(logps.equal(whole.narrow(0, begin, n)));
        EXPECT_TRUE(part.grad().equal(hidden.grad().narrow(0, begin, n)));
        EXPECT_FALSE(shared.grad().defined());
        begin += n;
      }
      EXPECT_LT((leaf.grad() - weight.grad()).abs().max().item<double>(), 1e-5);
      if (step == 1) first = leaf.grad();
      EXPECT_EQ(leaf.grad().const_data_ptr(), first.const_data_ptr());
      memory.clear();
      EXPECT_FALSE(leaf.grad().defined());
    }
  }
}

TEST(TokenLogps, StayExactForLargeLogits) {
  const at::Tensor hidden = at::tensor({1000.0f}).view({1, 1});
  const at::Tensor weight = at::tensor({5.0f, 4.99f, -5.0f}).view({3, 1});
  const at::Tensor logps = token_logps(hidden, weight, at::tensor({int64_t{1}}), 1, 8);
  EXPECT_NEAR(logps.item<double>(), -10.0 - std::log1p(std::exp(-10.0)), 2e-3);  // 5000 and 4990 in fp32
  EXPECT_TRUE(token_logps(hidden, weight, at::tensor({int64_t{2}}), 1, 8).isfinite().item<bool>());
}

TEST(TokenLogps, GiveNoGradientToAFrozenHead) {
  const Case c = make_case();
  const at::Tensor hidden = c.hidden.to(at::kFloat).set_requires_grad(true), weight = c.weight.to(at::kFloat);
  token_logps(hidden, weight, c.ids, 1, 8).sum().backward();
  EXPECT_TRUE(hidden.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

}  // namespace
}  // namespace fulcrum
