// Exact divergences on their way from two models through the learner into a loss, and their gradient back.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/learner/learner.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// Loss: the mean divergence over the targets; keeps what it was given.
struct Seen {
  std::vector<float> reference_logps;
};

class DivergenceAlone final : public Objective {
 public:
  DivergenceAlone(const std::string& name, std::shared_ptr<Seen> seen)
      : divergence_(make_divergence(name).value()), seen_(std::move(seen)) {}
  Needs needs() const override { return {.divergence = true}; }
  std::shared_ptr<const Divergence> divergence() const override { return divergence_; }
  Status prepare(TrainBatch& batch, ObjectiveState&, Metrics&) const override {
    batch.denominator = static_cast<double>(batch.num_targets());
    return ok_status();
  }
  Result<LossOutput> loss(const LossInput& in) const override {
    const at::Tensor r = in.reference_logps_N.contiguous();
    seen_->reference_logps.insert(seen_->reference_logps.end(), r.const_data_ptr<float>(),
                                  r.const_data_ptr<float>() + r.numel());
    return LossOutput{.loss = in.divergence_N.sum() / in.batch.denominator, .metrics = {}};
  }

 private:
  std::shared_ptr<const Divergence> divergence_;
  std::shared_ptr<Seen> seen_;
};

const Model& start() {
  static const Model model = lively_model(tiny_spec(), 3);
  return model;
}

// The policy's weights, and by `far` a piece of another model's.
Model reference_weights(double far) {
  Model out = start();
  const Model other = lively_model(tiny_spec(), 4);
  for (auto& [name, tensor] : out.tensors) {
    std::vector<float> values = to_float(tensor).value();
    const std::vector<float> there = to_float(other.tensors.at(name)).value();
    for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(far) * (there[i] - values[i]);
    tensor = make_tensor(tensor.shape, values);
  }
  return out;
}

struct Rig {
  std::shared_ptr<Seen> seen = std::make_shared<Seen>();
  std::unique_ptr<Learner> learner;

  Rig(const std::string& divergence, double far, int64_t max_tokens = 1 << 20) {
    LearnerOptions options;
    options.config.learning_rate = 0.003;
    options.config.logits_chunk = 16;
    options.config.max_tokens_per_micro_batch = max_tokens;
    options.max_steps = 1000;
    const Model model = reference_weights(far);
    auto reference = make_reference({}, model, {});
    EXPECT_TRUE(reference.ok()) << reference.status().message();
    auto made = Learner::create(start(), options, std::make_unique<DivergenceAlone>(divergence, seen),
                                std::move(*reference));
    EXPECT_TRUE(made.ok()) << made.status().message();
    learner = std::move(*made);
  }
  Metrics step() {
    auto metrics = learner->step(batch(), {});
    EXPECT_TRUE(metrics.ok()) << metrics.status().message();
    return metrics.ok() ? *metrics : Metrics{};
  }
  static TrainBatch batch() {
    return random_batch(tiny_spec(), {{4, {6, 3, 8, 8}}, {7, {5, 1, 12, 2}}, {2, {20, 9}}}, 1);
  }
};

TEST(LearnerDivergence, IsThatOfTheTwoModelsPlainDistributions) {
  Rig rig("forward_kl", 0.5);
  const Metrics metrics = rig.step();
  const TrainBatch batch = Rig::batch();
  // Of every target the whole row of log-probs.
  const auto table = [&](const Model& model) {
    const PlainWeights plain = plain_weights(model);
    std::vector<at::Tensor> rows;
    for (const BatchRow& row : batch.rows) {
      const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
      std::vector<TokenId> ids(batch.tokens.begin() + group.prompt_begin,
                               batch.tokens.begin() + group.prompt_end);
      ids.insert(ids.end(), batch.tokens.begin() + row.token_begin, batch.tokens.begin() + row.token_end);
      const at::Tensor log_p = plain_logits(ids, plain, tiny_spec()).log_softmax(-1).detach();
      for (int64_t i = group.prompt_end - group.prompt_begin; i < std::ssize(ids); ++i)
        rows.push_back(log_p[i - 1]);
    }
    return at::stack(rows);
  };
  const at::Tensor pi = table(start()), ref = table(reference_weights(0.5));
  const double want = (ref.exp() * (ref - pi)).sum(1).mean().item<double>();
  EXPECT_NEAR(metrics.at("loss").mean(), want, 1e-5 * want);
  EXPECT_GT(want, 0.01);
  ASSERT_EQ(std::ssize(rig.seen->reference_logps), batch.num_targets());
  for (int64_t n = 0; n < batch.num_targets(); ++n) {
    const auto id = static_cast<int64_t>(batch.target_ids[static_cast<size_t>(n)]);
    EXPECT_NEAR(rig.seen->reference_logps[static_cast<size_t>(n)], ref[n][id].item<double>(), 1e-4);
  }
}

TEST(LearnerDivergence, FallsWhenItIsTheLossWhateverTheGenerator) {
  for (const char* name : {"forward_kl", "reverse_kl", "js_divergence", "chi_po"}) {
    Rig rig(name, 0.3);
    const double before = rig.step().at("loss").mean();
    for (int i = 0; i < 30; ++i) rig.step();
    EXPECT_LT(rig.step().at("loss").mean(), 0.3 * before) << name;
  }
}

TEST(LearnerDivergence, DoesNotDependOnTheMicroBatches) {
  Rig whole("js_divergence", 0.5);
  const Metrics want = whole.step();
  for (const int64_t limit : {1, 30}) {
    const Metrics got = Rig("js_divergence", 0.5, limit).step();
    EXPECT_NEAR(got.at("loss").mean(), want.at("loss").mean(), 1e-6);
    EXPECT_NEAR(got.at("grad_norm").mean(), want.at("grad_norm").mean(), 1e-5 * want.at("grad_norm").mean());
  }
}

TEST(LearnerDivergence, NeedsAReferenceWhoseModelIsThere) {
  const auto made =
      Learner::create(start(), {}, std::make_unique<DivergenceAlone>("forward_kl", nullptr), nullptr);
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
