// The critic beside the policy: what it sees, whom its gradient reaches.
#include "engine/learner/critic.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/learner/learner.h"
#include "tests/support/test_data.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// Loss: the mean of weight * value; keeps what it was shown.
struct Seen {
  std::vector<float> old_values;
  std::vector<at::Tensor> values;
};
class ValueObjective final : public Objective {
 public:
  explicit ValueObjective(std::shared_ptr<Seen> seen) : seen_(std::move(seen)) {}
  Needs needs() const override { return {.values = true}; }
  Status prepare(TrainBatch& batch, ObjectiveState&, Metrics&) const override {
    seen_->old_values = batch.old_values;
    batch.denominator = static_cast<double>(batch.num_targets());
    return ok_status();
  }
  Result<LossOutput> loss(const LossInput& in) const override {
    seen_->values.push_back(in.values_N.detach());
    const at::Tensor weights_N = (at::arange(in.values_N.numel(), at::kFloat) * 0.7F).cos();
    return LossOutput{(in.values_N * weights_N).sum() / in.batch.denominator, {}};
  }

 private:
  std::shared_ptr<Seen> seen_;
};

const Model& start() {
  static const Model model = lively_model(tiny_spec());
  return model;
}

TrainBatch batch() { return random_batch(tiny_spec(), {{4, {6, 3, 8}}, {7, {5, 1, 0}}, {2, {9}}}); }

struct Rig {
  std::shared_ptr<Seen> seen = std::make_shared<Seen>();
  std::unique_ptr<Learner> learner;
  explicit Rig(const CriticConfig& critic) {
    LearnerOptions options;
    options.config.critic = critic;
    options.config.critic.value_learning_rate = 0.01;
    options.max_steps = 10;
    auto made = Learner::create(start(), options, std::make_unique<ValueObjective>(seen), nullptr);
    EXPECT_TRUE(made.ok()) << made.status().message();
    learner = std::move(made).value();
  }
  void step() const {
    const auto metrics = learner->step(batch(), {});
    ASSERT_TRUE(metrics.ok()) << metrics.status().message();
  }
  // The size of the first moments of the tensors whose name begins so.
  double moments(const std::string& prefix) const {
    double sum = 0;
    for (const auto& [name, tensor] : learner->save().tensors) {
      if (!name.starts_with(prefix)) continue;
      const std::vector<float> values = to_float(tensor).value();
      for (const float v : values) sum += std::abs(static_cast<double>(v));
    }
    return sum;
  }
};

TEST(Critic, ASeparateOneLeavesThePolicyAlone) {
  const Rig rig({.value_head = "separate"});
  rig.step();
  rig.step();
  EXPECT_EQ(rig.moments("exp_avg/"), 0);
  EXPECT_GT(rig.moments("critic/exp_avg/score.weight"), 0);
  EXPECT_GT(rig.moments("critic/exp_avg/model.layers"), 0);
}

TEST(Critic, ASharedOneTrainsItsHeadFirstAndThePolicysBodyFromTheSecondStepOn) {
  const Rig rig({.value_head = "shared"});
  rig.step();
  EXPECT_GT(rig.moments("critic/exp_avg/score.weight"), 0);
  EXPECT_EQ(rig.moments("exp_avg/"), 0) << "through a head of zeros nothing flows";
  rig.step();
  EXPECT_GT(rig.moments("exp_avg/model.layers"), 0);
  EXPECT_EQ(rig.moments("exp_avg/lm_head"), 0);
}

TEST(Critic, TheOldValuesAreTheFirstOnesToTheBit) {
  for (const char* head : {"separate", "shared"}) {
    const Rig rig({.value_head = head});
    for (int i = 0; i < 3; ++i) {
      rig.seen->values.clear();
      rig.step();
      const at::Tensor values = rig.seen->values.front();
      ASSERT_EQ(static_cast<size_t>(values.numel()), rig.seen->old_values.size());
      for (int64_t n = 0; n < values.numel(); ++n)
        EXPECT_EQ(values.const_data_ptr<float>()[n], rig.seen->old_values[static_cast<size_t>(n)]) << head;
    }
  }
}

TEST(Critic, AValueIsOfTheStateBeforeItsToken) {
  ModelSpec spec = tiny_spec();
  spec.score_head = true;
  const Model model = lively_model(spec, 8);
  const TempFolder folder;
  ASSERT_TRUE(write_model(folder.path(), model, {}).ok());
  const Rig rig({.value_head = "separate", .value_model = folder.path().string()});
  rig.step();
  const PlainWeights plain = plain_weights(model);
  const TrainBatch b = batch();
  for (const BatchRow& row : b.rows) {
    const BatchGroup& group = b.groups[static_cast<size_t>(row.group)];
    std::vector<TokenId> ids(b.tokens.begin() + group.prompt_begin, b.tokens.begin() + group.prompt_end);
    for (int64_t n = row.target_begin; n < row.target_end; ++n) {
      const double want = plain_logits(ids, plain, spec)[-1][0].item<double>();
      EXPECT_NEAR(static_cast<double>(rig.seen->old_values[static_cast<size_t>(n)]), want, 2e-5) << n;
      ids.push_back(b.target_ids[static_cast<size_t>(n)]);
    }
  }
}

}  // namespace
}  // namespace fulcrum
