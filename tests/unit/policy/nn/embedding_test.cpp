#include "policy/nn/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace fulcrum {
namespace {

// Wider than a block of columns and no multiple of one; ids that come again.
struct Case {
  at::Tensor weight = at::randn({11, 150}), ids = at::randint(11, {40}, at::kLong);
  at::Tensor upstream = at::randn({40, 150});
  at::Tensor leaf() const { return weight.clone().set_requires_grad(true); }
};

at::Tensor expected_gradient(const Case& c) {
  const at::Tensor leaf = c.leaf();
  at::embedding(leaf, c.ids).backward(c.upstream);
  return leaf.grad();
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class EmbeddingIds : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(EmbeddingIds, GradientIsAddedWhetherTheLeafHasOneOrNot) {
  Case c;
  c.ids = c.ids.to(GetParam());
  const at::Tensor want = expected_gradient(c), leaf = c.leaf();
  EXPECT_TRUE(embed({leaf, {}}, c.ids).equal(at::embedding(leaf, c.ids)));
  embed({leaf, {}}, c.ids).backward(c.upstream);
  EXPECT_TRUE(leaf.grad().equal(want));
  const void* place = leaf.grad().const_data_ptr();
  embed({leaf, {}}, c.ids).backward(c.upstream);
  EXPECT_LT(distance(leaf.grad(), 2 * want), 1e-5);
  EXPECT_EQ(leaf.grad().const_data_ptr(), place);
}

INSTANTIATE_TEST_SUITE_P(Types, EmbeddingIds, ::testing::Values(at::kInt, at::kLong));

TEST(Embedding, ReadsRoundedValuesAndGivesTheLeafTheGradient) {
  const Case c;
  const at::Tensor leaf = c.leaf(), rounded = c.weight.to(at::kBFloat16).to(at::kFloat);
  const at::Tensor rows = embed({leaf, rounded}, c.ids);
  EXPECT_TRUE(rows.equal(at::embedding(rounded, c.ids)));
  rows.backward(c.upstream);
  EXPECT_TRUE(leaf.grad().equal(expected_gradient(c)));
}

TEST(Embedding, AddsTheSameBitsWithAnyNumberOfThreads) {
  const Case c;
  const auto twice = [&](int threads) {
    at::set_num_threads(threads);
    const at::Tensor leaf = c.leaf();
    for (int i = 0; i < 2; ++i) embed({leaf, {}}, c.ids).backward(c.upstream);
    return leaf.grad();
  };
  const at::Tensor one = twice(1), two = twice(2);
  at::set_num_threads(1);
  EXPECT_TRUE(one.equal(two));
}

// The head of a tied model has its gradient first: the sum is autograd's of both.
TEST(Embedding, SharesTheGradientOfATiedHead) {
  const Case c;
  const at::Tensor plain = c.leaf(), leaf = c.leaf();
  at::embedding(plain, c.ids).backward(c.upstream);
  plain.mutable_grad().add_(c.weight);
  leaf.mutable_grad() = c.weight.clone();
  embed({leaf, {}}, c.ids).backward(c.upstream);
  EXPECT_LT(distance(leaf.grad(), plain.grad()), 1e-5);
}

}  // namespace
}  // namespace fulcrum
