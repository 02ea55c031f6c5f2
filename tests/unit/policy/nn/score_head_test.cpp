#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/nn/policy.h"
#include "policy/nn/target_logps.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

Model score_model() {
  ModelSpec spec = tiny_spec();
  spec.score_head = true;
  return lively_model(spec);
}

// The score at the last token of each row, every row as a sequence of its own.
at::Tensor plain_scores(const TrainBatch& batch, const PlainWeights& w, const ModelSpec& s) {
  std::vector<at::Tensor> out;
  for (const BatchRow& row : batch.rows) {
    const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
    std::vector<TokenId> ids(batch.tokens.begin() + group.prompt_begin,
                             batch.tokens.begin() + group.prompt_end);
    ids.insert(ids.end(), batch.tokens.begin() + row.token_begin, batch.tokens.begin() + row.token_end);
    out.push_back(plain_logits(ids, w, s).select(0, -1).squeeze(0));
  }
  return at::stack(out);
}

TEST(ScoreHead, ScoresTheLastTokenOfEveryRowAndItsGradientReachesAllOfTheModel) {
  const Model model = score_model();
  const TrainBatch batch = random_batch(model.spec, {{3, {5, 1, 9}}, {12, {30}}, {4, {2, 0}}});
  const PlainWeights plain = plain_weights(model);
  const at::Tensor expected = plain_scores(batch, plain, model.spec);
  const at::Tensor weights = (at::arange(expected.numel(), at::kDouble) * 0.7 + 1).sin();
  expected.backward(weights);

  const auto policy = Policy::create(model, {}).value();
  const at::Tensor got = scores(last_states(policy->hidden(batch), batch), policy->score_weight());
  EXPECT_LT(largest_difference(got, expected), 2e-5);
  got.backward(weights.to(at::kFloat));
  for (const auto& [name, leaf] : policy->parameters()) {
    const at::Tensor want = plain.at(name).grad();
    ASSERT_TRUE(leaf.grad().defined()) << name;
    EXPECT_LT(largest_difference(leaf.grad(), want), 1e-5 + 1e-5 * want.abs().max().item<double>()) << name;
  }
}

TEST(ScoreHead, AModelWithOneGivesNoLogProbs) {
  const Model model = score_model();
  const auto policy = Policy::create(model, {}).value();
  EXPECT_FALSE(policy->output_weight().defined());
  const auto logps = batch_logps(*policy, random_batch(model.spec, {{3, {4}}}), 1, 100, 16, {});
  EXPECT_EQ(logps.status().code(), Code::kInvalidArgument);
}

TEST(ScoreHead, InBf16UsesTheRoundedWeightsOfTheHead) {
  const Model model = score_model();
  const TrainBatch batch = random_batch(model.spec, {{3, {5, 1}}});
  const auto exact = Policy::create(model, {}).value();
  const auto rounded = Policy::create(model, {.dtype = at::kBFloat16}).value();
  const at::Tensor weight = exact->score_weight().detach();
  EXPECT_TRUE(rounded->score_weight().equal(weight.to(at::kBFloat16).to(at::kFloat)));
  const at::Tensor a = scores(last_states(exact->hidden(batch), batch), exact->score_weight());
  const at::Tensor b = scores(last_states(rounded->hidden(batch), batch), rounded->score_weight());
  EXPECT_LT(largest_difference(a, b), 0.1 * (1 + a.abs().max().item<double>()));
}

}  // namespace
}  // namespace fulcrum
