// Clipped steps of AdamW on the far device, by the kernels' own source and by LibTorch's operations, beside
// the CPU's.
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>
#include <optional>

#include "bench/gpu/kernel_call.h"
#include "engine/kernels/device/fallbacks.h"
#include "engine/learner/adamw.h"
#include "tests/device/emulated_kernels.h"
#include "tests/support/far_device.h"

namespace fulcrum {
namespace {

using gpu_check::numbers;
using testing::EmulatedKernels;
using testing::far_device;

// Two sets of leaves with their optimizers.
struct Sets {
  explicit Sets(at::Device device) {
    config.weight_decay = 0.01;
    uint64_t seed = 0;
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{7}, {3, 5}, {97, 130}, {1, 9}}) {
      const at::Tensor leaf =
          numbers(c10::multiply_integers(shape), ++seed).view(shape).to(device, at::kFloat, false, true);
      NamedTensors& into = seed == 4 ? small : large;
      into.emplace_back("leaf" + std::to_string(seed), leaf.set_requires_grad(true));
    }
    first.emplace(large, config);
    second.emplace(small, config);
  }

  void give_gradients(uint64_t seed, double scale_of_small = 1) {
    for (NamedTensors* set : {&large, &small}) {
      for (auto& [name, leaf] : *set) {
        const at::Tensor g = numbers(leaf.numel(), ++seed, set == &small ? scale_of_small : 0.3);
        leaf.mutable_grad() = g.view(leaf.sizes()).to(leaf.device());
      }
    }
  }
  std::vector<double> step() {
    const std::vector<AdamW::Clipped> updates = {{*first, 1e-2, 1.0, rounded}, {*second, 1e-3, 0.5, {}}};
    const AdamW::Stepped out = AdamW::step_clipped(updates);
    wrote_rounded = out.rounded;
    return out.norms;
  }
  // Weights, moments and counts.
  std::pair<TensorMap, std::pair<int64_t, int64_t>> state() const {
    TensorMap out;
    for (const auto* optimizer : {&*first, &*second}) optimizer->save(out);
    for (const NamedTensors* set : {&large, &small}) {
      for (const auto& [name, leaf] : *set) {
        const at::Tensor here = leaf.detach().to(at::kCPU).contiguous();
        out[name] = make_tensor(here.sizes().vec(),
                                {here.const_data_ptr<float>(), static_cast<size_t>(here.numel())});
      }
    }
    return {out, {first->steps(), second->steps()}};
  }

  LearnerConfig config;
  NamedTensors large, small;
  std::optional<AdamW> first, second;
  std::vector<at::Tensor> rounded;  // of the first set
  bool wrote_rounded = false;
};

void expect_close(const TensorMap& got, const TensorMap& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) {
    const std::vector<float> a = to_float(got.at(name)).value(), b = to_float(tensor).value();
    for (size_t i = 0; i < b.size(); ++i)
      ASSERT_NEAR(a[i], b[i], 2e-6 * std::max(0.1f, std::abs(b[i]))) << name << ", " << i;
  }
}

class DeviceOptimizer : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) kernels_.emplace();
  }
  std::optional<EmulatedKernels> kernels_;
};
INSTANTIATE_TEST_SUITE_P(Both, DeviceOptimizer, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "kernels" : "plainly"; });

TEST_P(DeviceOptimizer, StepsAsTheCpuDoesAndSaysTheNorms) {
  Sets here(at::kCPU), there(far_device());
  const kernels::FallbackCounts before = kernels::fallback_counts();
  for (uint64_t step = 1; step <= 3; ++step) {
    for (Sets* sets : {&here, &there}) sets->give_gradients(100 * step);
    for (Sets* sets : {&here, &there}) sets->large[1].second.mutable_grad().reset();  // gradient 0
    const std::vector<double> want = here.step(), got = there.step();
    ASSERT_EQ(got.size(), 2u);
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(got[i], want[i], 1e-6 * want[i]);
    EXPECT_GT(want[0], 1.0) << "this one is clipped";
  }
  EXPECT_EQ(there.state().second, here.state().second);
  expect_close(there.state().first, here.state().first);
  EXPECT_EQ(kernels::fallback_counts() == before, GetParam());
  EXPECT_NEAR(weight_norm(there.large), weight_norm(here.large), 1e-6 * weight_norm(here.large));
}

TEST_P(DeviceOptimizer, WritesTheRoundedCopiesOrSaysThatItDidNot) {
  Sets sets(far_device());
  for (const auto& [name, leaf] : sets.large) {
    const bool in_fp32 = leaf.dim() == 1;
    sets.rounded.push_back(at::zeros_like(
        leaf.detach(), leaf.options().requires_grad(false).dtype(in_fp32 ? at::kFloat : at::kBFloat16)));
  }
  const auto same = [&](size_t i) {
    const at::Tensor want = sets.large[i].second.detach().to(at::kCPU).to(at::kBFloat16);
    return sets.rounded[i].to(at::kCPU).to(at::kBFloat16).equal(want);
  };
  sets.give_gradients(1);
  sets.step();
  EXPECT_EQ(sets.wrote_rounded, GetParam());
  for (size_t i = 0; i < sets.rounded.size(); ++i) EXPECT_EQ(same(i), GetParam());
}

TEST_P(DeviceOptimizer, LeavesAllSetsAloneWhereOneHasNoFiniteGradient) {
  Sets sets(far_device());
  sets.give_gradients(1);
  sets.step();
  const auto before = sets.state();
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    sets.give_gradients(2);
    sets.small[0].second.mutable_grad().select(1, 3).fill_(bad);
    const std::vector<double> norms = sets.step();
    EXPECT_TRUE(std::isfinite(norms[0]));
    EXPECT_FALSE(std::isfinite(norms[1]));
    EXPECT_EQ(content_hash(sets.state().first), content_hash(before.first));
    EXPECT_EQ(sets.state().second, before.second);
  }
}

TEST_P(DeviceOptimizer, StepsOnMomentumAloneOnlyBesideASetThatMoves) {
  Sets here(at::kCPU), there(far_device());
  for (Sets* sets : {&here, &there}) {
    sets->give_gradients(1);
    sets->step();
    const auto before = sets->state();
    for (NamedTensors* set : {&sets->large, &sets->small}) clear_gradients(*set);
    EXPECT_EQ(sets->step(), (std::vector<double>{0, 0}));
    EXPECT_EQ(content_hash(sets->state().first), content_hash(before.first));
    sets->give_gradients(2, 0);
    EXPECT_EQ(sets->step()[1], 0);
    EXPECT_EQ(sets->state().second, (std::pair<int64_t, int64_t>{2, 2}));
  }
  expect_close(there.state().first, here.state().first);
}

TEST_P(DeviceOptimizer, GoesOnWithMomentsThatWereBroughtBack) {
  Sets sets(far_device());
  sets.give_gradients(1);
  sets.step();
  const AdamW::Snapshot before = sets.first->snapshot();
  TensorMap saved;
  sets.first->save(saved);
  sets.give_gradients(2);
  sets.step();
  const std::string straight = content_hash(sets.state().first);
  for (const bool load : {false, true}) {
    sets.first->restore(before);
    if (load) {
      ASSERT_TRUE(sets.first->load(saved, 1).ok());
    }
    const std::vector<AdamW::Clipped> update = {{*sets.first, 1e-2, 1.0, {}}};
    AdamW::step_clipped(update);
    EXPECT_EQ(content_hash(sets.state().first), straight);
  }
}

}  // namespace
}  // namespace fulcrum
