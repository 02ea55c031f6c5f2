// A model that does not lie on the CPU: the log-probs and gradients of one that does, with nothing of it read
// by the host on the way.
#include "policy/nn/policy.h"

#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "engine/kernels/device/fallbacks.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/token_divergences.h"
#include "tests/device/emulated_kernels.h"
#include "tests/support/far_device.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

TrainBatch mixed_batch(const ModelSpec& spec) {
  return random_batch(spec,
                      {{3, {5, 1, 9}}, {12, {30}}, {1, {2, 0}}, {7, {}}, {12, {4, 17, 17, 3}}, {40, {1, 2}}});
}

at::Tensor weights_for(int64_t n) { return (at::arange(n, at::kFloat) * 0.7F).sin(); }

struct Family {
  const char* name;
  ModelSpec spec;
};
std::vector<Family> families() {
  std::vector<Family> out{
      {"llama", tiny_spec()}, {"multi_head", tiny_spec()}, {"tied", tiny_spec()}, {"qwen2", tiny_spec()}};
  out[1].spec.num_key_value_heads = 4;
  out[2].spec.tie_word_embeddings = true;
  out[3].spec.model_type = "qwen2";
  out[3].spec.attention_bias = true;
  return out;
}

struct Ran {
  at::Tensor logps, entropy;
  std::unique_ptr<Policy> policy;  // with gradients
};

Ran run(const ModelSpec& spec, PolicyOptions options) {
  Ran out;
  out.policy = Policy::create(lively_model(spec), options).value();
  const TrainBatch batch = mixed_batch(spec);
  const at::Tensor states = target_states(out.policy->hidden(batch), batch);
  const at::Tensor logps = state_logps(*out.policy, states, batch, 0.8, 7, &out.entropy);
  EXPECT_EQ(logps.device(), options.device);
  logps.backward(weights_for(logps.numel()).to(options.device));
  out.logps = logps.detach().to(at::kCPU);
  out.entropy = out.entropy.to(at::kCPU);
  return out;
}

// Relative to the largest gradient of each leaf.
void expect_same_gradients(const Policy& a, const Policy& b, double tolerance) {
  for (size_t i = 0; i < a.parameters().size(); ++i) {
    const auto& [name, leaf] = a.parameters()[i];
    const at::Tensor want = leaf.grad(), got = b.parameters()[i].second.grad().to(at::kCPU);
    ASSERT_TRUE(want.defined()) << name;
    EXPECT_EQ(got.scalar_type(), at::kFloat) << name;
    EXPECT_LT(largest_difference(got, want), tolerance * want.abs().max().item<double>() + 1e-6) << name;
  }
}

// Each with the kernels and without them.
class EveryFamily : public ::testing::TestWithParam<std::tuple<Family, bool>> {
 protected:
  EveryFamily() {
    if (std::get<bool>(GetParam())) kernels_.emplace();
  }
  ~EveryFamily() override {
    if (!kernels_) return;
    EXPECT_GT(EmulatedKernels::calls(), before_);
  }
  static const ModelSpec& spec() { return std::get<Family>(GetParam()).spec; }

 private:
  const int64_t before_ = EmulatedKernels::calls();
  std::optional<EmulatedKernels> kernels_;
};

TEST_P(EveryFamily, SaysTheSameInFp32) {
  for (const bool recompute : {false, true}) {
    const Ran here = run(spec(), {.gradient_checkpointing = recompute});
    const Ran there = run(spec(), {.device = far_device(), .gradient_checkpointing = recompute});
    EXPECT_LT(largest_difference(here.logps, there.logps), 2e-5);
    EXPECT_LT(largest_difference(here.entropy, there.entropy), 2e-5);
    expect_same_gradients(*here.policy, *there.policy, 2e-5);
  }
}

// Rounded at the same places but for the scores of the attention, which flash attention takes in bf16.
TEST_P(EveryFamily, IsAsNearToTheExactOneInBf16AsOnTheCpu) {
  const Ran exact = run(spec(), {});
  const Ran here = run(spec(), {.dtype = at::kBFloat16});
  const Ran there = run(spec(), {.dtype = at::kBFloat16, .device = far_device()});
  const double error_here = (exact.logps - here.logps).norm().item<double>();
  const double error_there = (exact.logps - there.logps).norm().item<double>();
  EXPECT_GT(error_there, 0);
  EXPECT_LT(error_there, 2 * error_here);
  for (size_t i = 0; i < exact.policy->parameters().size(); ++i) {
    const at::Tensor want = exact.policy->parameters()[i].second.grad();
    const at::Tensor got = there.policy->parameters()[i].second.grad().to(at::kCPU);
    const at::Tensor cpu = here.policy->parameters()[i].second.grad();
    EXPECT_LT((got - want).norm().item<double>(),
              2 * (cpu - want).norm().item<double>() + 0.005 * want.norm().item<double>())
        << exact.policy->parameters()[i].first;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily,
                         ::testing::Combine(::testing::ValuesIn(families()), ::testing::Bool()),
                         [](const auto& test) {
                           return std::string(std::get<Family>(test.param).name) +
                                  (std::get<bool>(test.param) ? "_by_kernels" : "_plainly");
                         });

// Nothing is left to the plain way where there are kernels, but attention that flash does not take.
TEST(DevicePolicy, HasAKernelForEverythingElse) {
  const EmulatedKernels all;
  const kernels::FallbackCounts before = kernels::fallback_counts();
  run(tiny_spec(), {.dtype = at::kBFloat16, .device = far_device()});
  EXPECT_EQ(kernels::fallback_counts(), before);
}

TEST(DevicePolicy, TakesCompletionsOfOneTokenBesideGroupsWithout) {
  const TrainBatch batch = random_batch(tiny_spec(), {{5, {1}}, {4, {}}, {3, {0}}, {2, {1}}});
  const auto logps = [&](const PolicyOptions& options) {
    const auto policy = Policy::create(lively_model(tiny_spec()), options).value();
    return target_logps(*policy, batch, 1, 8).detach().to(at::kCPU);
  };
  const at::Tensor exact = logps({}), there = logps({.dtype = at::kBFloat16, .device = far_device()});
  EXPECT_LT(largest_difference(exact, there), 0.1);
}

// Heads that flash attention does not take have their scores written out, in bf16 too.
TEST(DevicePolicy, TakesHeadsThatFlashAttentionDoesNot) {
  ModelSpec spec = tiny_spec();
  spec.head_dim = 6;
  const Ran here = run(spec, {.dtype = at::kBFloat16}),
            there = run(spec, {.dtype = at::kBFloat16, .device = far_device()});
  EXPECT_LT(largest_difference(here.logps, there.logps), 0.1);
  const kernels::FallbackCounts before = kernels::fallback_counts();
  run(spec, {.dtype = at::kBFloat16, .device = far_device()});
  const auto attention = static_cast<size_t>(kernels::Fallback::kAttention);
  EXPECT_GT(kernels::fallback_counts()[attention], before[attention]);
}

class Divergences : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Kernels, Divergences, ::testing::Bool());

TEST_P(Divergences, AreThoseOfTheCpuForEveryGenerator) {
  std::optional<EmulatedKernels> all;
  if (GetParam()) all.emplace();
  const at::Tensor hidden = at::randn({9, 6}), weight = at::randn({31, 6});
  const at::Tensor theirs = at::randn({9, 6}), their_weight = at::randn({31, 6});
  const at::Tensor ids = at::arange(9, at::kLong);
  for (const std::string& name : divergence_names()) {
    const auto divergence = make_divergence(name).value();
    const auto said = [&](at::Device device) {
      at::Tensor h = hidden.to(device).detach().set_requires_grad(true),
                 w = weight.to(device).detach().set_requires_grad(true);
      const TokenDivergences out = token_divergences({h, w}, {theirs.to(device), their_weight.to(device)},
                                                     ids.to(device), divergence, 0.9, 4);
      (out.divergence_N + out.logps_N).sum().backward();
      return std::vector<at::Tensor>{out.divergence_N.detach().cpu(), out.logps_N.detach().cpu(),
                                     out.reference_logps_N.cpu(), h.grad().cpu(), w.grad().cpu()};
    };
    const auto here = said(at::kCPU), there = said(far_device());
    for (size_t i = 0; i < here.size(); ++i)
      EXPECT_LT(largest_difference(here[i], there[i]), 1e-4 * (1 + here[i].abs().max().item<double>()))
          << name << " " << i;
  }
}

}  // namespace
}  // namespace fulcrum
