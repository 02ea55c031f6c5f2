#include "policy/nn/policy.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "engine/core/files.h"
#include "policy/nn/target_logps.h"
#include "tests/support/test_data.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

constexpr int64_t kNoLimit = 1 << 20;

std::unique_ptr<Policy> make_policy(const Model& model, PolicyOptions options = {}) {
  auto policy = Policy::create(model, options);
  EXPECT_TRUE(policy.ok()) << policy.status().message();
  return std::move(policy).value();
}

// Lengths that meet every kind of block: padded and not, one row, many rows, a row without tokens, long and
// short.
TrainBatch mixed_batch(const ModelSpec& spec) {
  return random_batch(spec, {{3, {5, 1, 9}}, {12, {30}}, {1, {2, 0}}, {12, {4, 17, 17, 3}}, {40, {1, 2}}});
}

// A gradient that treats every target differently.
at::Tensor weights_for(int64_t n) { return (at::arange(n, at::kDouble) * 0.7).sin(); }

struct Family {
  const char* name;
  ModelSpec spec;
};

std::vector<Family> families() {
  std::vector<Family> out{{"llama", tiny_spec()}, {"multi_head", tiny_spec()},  {"tied", tiny_spec()},
                          {"qwen2", tiny_spec()}, {"llama3_rope", tiny_spec()}, {"wide_heads", tiny_spec()}};
  out[1].spec.num_key_value_heads = 4;
  out[2].spec.tie_word_embeddings = true;
  out[3].spec.model_type = "qwen2";
  out[3].spec.attention_bias = true;
  out[4].spec.rope_scaling = RopeScaling{8, 1, 4, 64};
  out[5].spec.head_dim = 16;
  return out;
}

class EveryFamily : public ::testing::TestWithParam<Family> {};

TEST_P(EveryFamily, PackedRowsGiveTheLogpsAndGradientsOfSeparateSequences) {
  const ModelSpec& spec = GetParam().spec;
  const Model model = lively_model(spec);
  const TrainBatch batch = mixed_batch(spec);
  const PlainWeights plain = plain_weights(model);
  const at::Tensor expected = plain_logps(batch, plain, spec, 0.8);
  expected.backward(weights_for(expected.numel()));

  const auto policy = make_policy(model);
  const at::Tensor logps = target_logps(*policy, batch, 0.8, 7);
  EXPECT_LT(largest_difference(logps, expected), 2e-5);
  logps.backward(weights_for(logps.numel()).to(at::kFloat));
  ASSERT_EQ(policy->parameters().size(), plain.size());
  for (const auto& [name, leaf] : policy->parameters()) {
    const at::Tensor want = plain.at(name).grad();
    ASSERT_TRUE(leaf.grad().defined()) << name;
    EXPECT_LT(largest_difference(leaf.grad(), want), 1e-5 + 1e-5 * want.abs().max().item<double>()) << name;
    EXPECT_GT(want.abs().max().item<double>(), 1e-4) << name << ": the comparison would not see anything";
  }
}

TEST_P(EveryFamily, CheckpointingChangesNoBit) {
  const Model model = lively_model(GetParam().spec);
  const TrainBatch batch = mixed_batch(GetParam().spec);
  PolicyOptions recompute;
  recompute.gradient_checkpointing = true;
  const auto kept = make_policy(model), recomputed = make_policy(model, recompute);
  const at::Tensor a = target_logps(*kept, batch, 1, 64), b = target_logps(*recomputed, batch, 1, 64);
  EXPECT_TRUE(a.equal(b));
  a.sum().backward();
  b.sum().backward();
  for (size_t i = 0; i < kept->parameters().size(); ++i) {
    EXPECT_TRUE(kept->parameters()[i].second.grad().equal(recomputed->parameters()[i].second.grad()))
        << kept->parameters()[i].first;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily, ::testing::ValuesIn(families()),
                         [](const auto& family) { return std::string(family.param.name); });

TEST(Policy, ParametersAreTheModelsTensorsInNameOrder) {
  const Model model = lively_model(tiny_spec());
  const auto policy = make_policy(model);
  auto expected = model.tensors.begin();
  ASSERT_EQ(policy->parameters().size(), model.tensors.size());
  for (const auto& [name, leaf] : policy->parameters()) {
    EXPECT_EQ(name, expected->first);
    EXPECT_EQ(leaf.sizes().vec(), expected->second.shape);
    EXPECT_TRUE(leaf.flatten().equal(at::tensor(to_float(expected->second).value()))) << name;
    ++expected;
  }
}

TEST(Policy, UpdatedLeavesAreUsedByTheNextForwardPass) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    PolicyOptions options;
    options.dtype = dtype;
    const Model first = lively_model(tiny_spec(), 1), second = lively_model(tiny_spec(), 2);
    const auto policy = make_policy(first, options), other = make_policy(second, options);
    const TrainBatch batch = mixed_batch(tiny_spec());
    const at::NoGradGuard no_gradients;
    for (size_t i = 0; i < policy->parameters().size(); ++i) {
      at::Tensor leaf = policy->parameters()[i].second;
      leaf.copy_(other->parameters()[i].second);
    }
    policy->parameters_changed();
    EXPECT_TRUE(target_logps(*policy, batch, 1, 64).equal(target_logps(*other, batch, 1, 64)));
  }
}

TEST(Policy, ItsRoundedCopiesMayBeWrittenInPlaceOfParametersChanged) {
  for (const auto& [name, spec] : families()) {
    SCOPED_TRACE(name);
    const auto exact = make_policy(lively_model(spec, 1));
    EXPECT_TRUE(exact->rounded().empty());
    PolicyOptions options;
    options.dtype = at::kBFloat16;
    const auto policy = make_policy(lively_model(spec, 1), options),
               other = make_policy(lively_model(spec, 2), options);
    const at::NoGradGuard no_gradients;
    const std::vector<at::Tensor> rounded = policy->rounded();
    ASSERT_EQ(rounded.size(), policy->parameters().size());
    for (size_t i = 0; i < rounded.size(); ++i) {
      const at::Tensor& leaf = policy->parameters()[i].second;
      ASSERT_EQ(rounded[i].sizes(), leaf.sizes());
      EXPECT_TRUE(rounded[i].is_contiguous());
      EXPECT_TRUE(rounded[i].to(at::kFloat).equal(leaf.to(at::kBFloat16).to(at::kFloat)));
      rounded[i].copy_(other->parameters()[i].second.to(at::kBFloat16));
    }
    const TrainBatch batch = mixed_batch(spec);
    EXPECT_TRUE(target_logps(*policy, batch, 1, 64).equal(target_logps(*other, batch, 1, 64)));
  }
}

TEST(Policy, Bfloat16StaysNearTheExactValuesAndHasFp32Gradients) {
  const Model model = random_model(tiny_spec(), 1);
  PolicyOptions options;
  options.dtype = at::kBFloat16;
  const auto exact = make_policy(model), rounded = make_policy(model, options);
  const TrainBatch batch = mixed_batch(tiny_spec());
  const at::Tensor a = target_logps(*exact, batch, 1, 64), b = target_logps(*rounded, batch, 1, 64);
  EXPECT_EQ(b.scalar_type(), at::kFloat);
  EXPECT_GT(largest_difference(a, b), 0);
  EXPECT_LT(largest_difference(a, b), 0.01);
  a.sum().backward();
  b.sum().backward();
  for (size_t i = 0; i < exact->parameters().size(); ++i) {
    const at::Tensor want = exact->parameters()[i].second.grad(),
                     got = rounded->parameters()[i].second.grad();
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    EXPECT_LT((got - want).norm().item<double>(), 0.03 * want.norm().item<double>())
        << exact->parameters()[i].first;
  }
}

TEST(Policy, RefusesAModelThatLacksATensorOrHasAnotherShape) {
  Model missing = random_model(tiny_spec(), 1);
  missing.tensors.erase("model.norm.weight");
  auto result = Policy::create(missing, {});
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_NE(result.status().message().find("model.norm.weight"), std::string::npos);

  Model misshapen = random_model(tiny_spec(), 1);
  misshapen.tensors["model.norm.weight"] = make_tensor({2}, std::vector<float>{1, 1});
  EXPECT_EQ(Policy::create(misshapen, {}).status().code(), Code::kInvalidArgument);
}

TEST(BatchLogps, DoNotDependOnTheMicroBatch) {
  const auto policy = make_policy(lively_model(tiny_spec()));
  const TrainBatch batch = mixed_batch(tiny_spec());
  const auto whole = batch_logps(*policy, batch, 1, kNoLimit, 64, {});
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ASSERT_EQ(whole->size(), batch.target_ids.size());
  for (const int64_t limit : {1, 20, 60}) {
    const auto split = batch_logps(*policy, batch, 1, limit, 5, {});
    ASSERT_TRUE(split.ok());
    ASSERT_EQ(split->size(), whole->size());
    for (size_t i = 0; i < whole->size(); ++i)
      EXPECT_NEAR((*split)[i], (*whole)[i], 2e-5) << limit << " " << i;
  }
  EXPECT_FALSE(policy->parameters()[0].second.grad().defined());
}

TEST(BatchLogps, AreTheSameBitsAgain) {
  const auto policy = make_policy(lively_model(tiny_spec()));
  const TrainBatch batch = mixed_batch(tiny_spec());
  EXPECT_EQ(batch_logps(*policy, batch, 1, 30, 8, {}).value(),
            batch_logps(*policy, batch, 1, 30, 8, {}).value());
}

TEST(BatchLogps, RefuseTokensOutsideTheVocabularyAndNameTheRow) {
  const auto policy = make_policy(lively_model(tiny_spec()));
  for (const TokenId bad : {-1, 23}) {
    TrainBatch batch = mixed_batch(tiny_spec());
    batch.tokens[static_cast<size_t>(batch.rows[3].token_begin)] = bad;
    const auto result = batch_logps(*policy, batch, 1, kNoLimit, 64, {});
    EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
    EXPECT_NE(result.status().message().find("row 101"), std::string::npos) << result.status().message();
  }
}

TEST(BatchLogps, StopWhenAsked) {
  const auto policy = make_policy(lively_model(tiny_spec()));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(batch_logps(*policy, mixed_batch(tiny_spec()), 1, 30, 8, stop.get_token()).status().code(),
            Code::kCancelled);
}

void expect_reference_logps(const Path& model_path, const Path& reference, double tolerance) {
  const auto model = load_model(model_path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto policy = make_policy(*model);
  const Json cases = parse_json(read_file(reference).value()).value();
  ASSERT_GT(cases.size(), 0u);
  for (const Json& c : cases) {
    const auto ids = c["ids"].get<std::vector<TokenId>>();
    BatchBuilder builder;
    builder.begin_group({ids.data(), 1});
    builder.add_row({ids.data() + 1, ids.size() - 1}, {});
    const auto logps = batch_logps(*policy, builder.take(), 1, kNoLimit, 64, {});
    ASSERT_TRUE(logps.ok()) << logps.status().message();
    const auto expected = c["logprobs"].get<std::vector<double>>();
    ASSERT_EQ(logps->size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR((*logps)[i], expected[i], tolerance) << c["text"] << " " << i;
  }
}

TEST(RealModel, Stories260KGivesItsReferenceLogps) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/stories260K.bin");
  const Path folder = test_data() / "tinyllama-260k";
  expect_reference_logps(folder / "stories260K.bin", folder / "reference.json", 2e-4);
}

TEST(RealModel, DigitCompletionGivesItsReferenceLogps) {
  FULCRUM_NEEDS_DATA("digit-completion/model.safetensors");
  const Path folder = test_data() / "digit-completion";
  expect_reference_logps(folder, folder / "reference.json", 1e-5);
}

}  // namespace
}  // namespace fulcrum
