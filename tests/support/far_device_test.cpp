// The stand-in for a GPU must itself refuse what a GPU would.
#include "tests/support/far_device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace fulcrum::testing {
namespace {

TEST(FarDevice, ComputesAsTheCpuDoes) {
  const at::Tensor a = at::arange(12, at::kFloat).view({3, 4}), b = at::ones({4, 2}, at::kFloat);
  const at::Tensor far = a.to(far_device()).mm(b.to(far_device())).narrow(0, 1, 2).t();
  EXPECT_FALSE(far.is_cpu());
  EXPECT_TRUE(at::equal(far.to(at::kCPU), a.mm(b).narrow(0, 1, 2).t()));
  at::Tensor into = at::zeros({3, 4}, at::TensorOptions(far_device()));
  into.narrow(0, 1, 1).add_(a.to(far_device()).narrow(0, 2, 1), 2);
  EXPECT_EQ(into.sum().item<float>(), 76);
  // A view with gaps.
  EXPECT_TRUE(at::equal(a.to(far_device()).slice(1, 1, 4, 2).reshape({-1}).to(at::kCPU),
                        a.slice(1, 1, 4, 2).reshape({-1})));
}

TEST(FarDevice, CarriesGradients) {
  at::Tensor w = at::ones({3}, at::TensorOptions(far_device())).set_requires_grad(true);
  const at::Tensor x = at::arange(3, at::kFloat).to(far_device());
  (w * x).exp().sum().backward();
  EXPECT_TRUE(
      at::allclose(w.grad().to(at::kCPU), at::arange(3, at::kFloat) * at::arange(3, at::kFloat).exp()));
}

TEST(FarDevice, RefusesTensorsOfTwoDevices) {
  const at::Tensor far = at::ones({3}, at::TensorOptions(far_device()));
  EXPECT_ANY_THROW(far + at::ones({3}));
  EXPECT_ANY_THROW(far.index_select(0, at::zeros({1}, at::kLong)));
}

TEST(FarDeviceDeathTest, HasMemoryThatTheHostMayNotTouch) {
  const at::Tensor far = at::ones({3}, at::TensorOptions(far_device()));
  {
    const FarAccess access;
    EXPECT_EQ(static_cast<const float*>(far.const_data_ptr())[1], 1);
  }
  EXPECT_EXIT(std::exit(static_cast<const float*>(far.const_data_ptr())[1] == 1),
              ::testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace fulcrum::testing
