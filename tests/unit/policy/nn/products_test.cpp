#include "policy/nn/products.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <tuple>

namespace fulcrum {
namespace {

double largest_error(const at::Tensor& x, const at::Tensor& exact) {
  return (x.to(at::kDouble) - exact).abs().max().item<double>();
}

TEST(Product, IsLibTorchsOfEveryLayout) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor a = at::randn({70, 150}, at::TensorOptions(dtype)), b = at::randn({150, 90}, dtype);
    const at::Tensor exact = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
    const at::Tensor columns_of_b = b.t().contiguous().t(), columns_of_a = a.t().contiguous().t();
    for (const at::Tensor& left : {a, columns_of_a}) {
      for (const at::Tensor& right : {b, columns_of_b}) {
        const at::Tensor c = product(left, right);
        EXPECT_EQ(c.scalar_type(), dtype);
        EXPECT_LT(largest_error(c, exact), 1e-4);
      }
    }
  }
}

TEST(Product, TakesViewsWithoutAUnitStride) {
  const at::Tensor wide = at::randn({40, 60});
  const at::Tensor every_other = wide.slice(1, 0, 60, 2).slice(0, 0, 40, 2);  // [20, 30]
  const at::Tensor b = at::randn({30, 5});
  EXPECT_LT(
      largest_error(product(every_other, b), at::matmul(every_other.to(at::kDouble), b.to(at::kDouble))),
      1e-4);
  const at::Tensor same_rows = at::randn({1, 30}).expand({20, 30});
  EXPECT_LT(largest_error(product(same_rows, b), at::matmul(same_rows.to(at::kDouble), b.to(at::kDouble))),
            1e-4);
}

TEST(Product, WritesOrAddsIntoAViewAndNothingBesideIt) {
  const at::Tensor a = at::randn({9, 20}), b = at::randn({20, 17}), before = at::randn({11, 30});
  for (const bool add : {false, true}) {
    const at::Tensor out = before.clone();
    product_into(out.narrow(0, 1, 9).narrow(1, 4, 17), a, b, add);
    at::Tensor expected = before.to(at::kDouble);
    at::Tensor inside = expected.narrow(0, 1, 9).narrow(1, 4, 17);
    const at::Tensor exact = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
    inside.copy_(add ? inside + exact : exact);
    EXPECT_LT(largest_error(out, expected), 1e-4);
    EXPECT_TRUE(at::equal(out.narrow(1, 21, 9), before.narrow(1, 21, 9)));
  }
}

TEST(Product, HasTheSameBitsWithAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto& [rows, depth, columns] :
       {std::tuple{300, 130, 70}, {70, 130, 300}, {1, 64, 500}, {500, 64, 1}, {200, 7, 200}}) {
    const at::Tensor a = at::randn({rows, depth}), b = at::randn({depth, columns});
    at::set_num_threads(1);
    const at::Tensor alone = product(a, b);
    for (const int n : {2, 3, 7}) {
      at::set_num_threads(n);
      EXPECT_TRUE(at::equal(alone, product(a, b))) << n << " threads, " << rows << " rows";
    }
  }
  at::set_num_threads(threads);
}

TEST(Product, OfNothingIsZero) {
  EXPECT_TRUE(at::equal(product(at::randn({3, 0}), at::randn({0, 4})), at::zeros({3, 4})));
  EXPECT_EQ(product(at::randn({0, 5}), at::randn({5, 4})).numel(), 0);
}

}  // namespace
}  // namespace fulcrum
