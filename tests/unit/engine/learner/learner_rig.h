// A learner with an objective and a reference that tests can look into. For tests of the learner.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/learner/learner.h"
#include "engine/reference/parameters.h"
#include "tests/unit/policy/nn/plain_llama.h"

namespace fulcrum::testing {

// Loss: minus the mean over the step's targets of weight * log-prob, weight a function of the target's
// number; counts the batches it prepared. Hooks let a test stop or break it.
struct Fake {
  Needs needs;
  std::function<void(int call)> on_loss = [](int) {};
  float factor = 1;
  int loss_calls = 0;
  std::vector<at::Tensor> seen_old, seen_reference;
  std::vector<double> prepared;                   // the state's counter, as prepare() left it
  std::vector<std::vector<int64_t>> seen_groups;  // Prompt::row of each group, loss() by loss()
};

class FakeObjective final : public Objective {
 public:
  explicit FakeObjective(std::shared_ptr<Fake> fake) : fake_(std::move(fake)) {}
  Needs needs() const override { return fake_->needs; }
  Status prepare(TrainBatch& batch, ObjectiveState& state, Metrics& metrics) const override {
    auto& count = state.values["batches"];
    count.resize(1);
    count[0] += 1;
    fake_->prepared.push_back(count[0]);
    settle(batch);
    batch.advantages.clear();
    for (int64_t i = 0; i < batch.num_targets(); ++i) {
      batch.advantages.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(i) + count[0])));
    }
    add_metric(metrics, "prepared", 1);
    return ok_status();
  }
  void settle(TrainBatch& batch) const override {
    batch.denominator = static_cast<double>(batch.num_targets());
  }
  Result<LossOutput> loss(const LossInput& in) const override {
    fake_->on_loss(fake_->loss_calls++);
    auto& groups = fake_->seen_groups.emplace_back();
    for (const BatchGroup& g : in.batch.groups)
      groups.push_back(in.batch.rows[static_cast<size_t>(g.row_begin)].prompt_row);
    fake_->seen_old.push_back(in.old_logps_N);
    fake_->seen_reference.push_back(in.reference_logps_N);
    LossOutput out;
    const at::Tensor ratio = in.old_logps_N.defined() ? (in.logps_N - in.old_logps_N).exp() : in.logps_N;
    out.loss = -(ratio * in.advantages_N * in.mask_N).sum() / in.batch.denominator * fake_->factor;
    return out;
  }

 private:
  std::shared_ptr<Fake> fake_;
};

class FakeReference : public Reference {
 public:
  FakeReference(const Model& model, float shift)
      : hash_(fulcrum::content_hash(model.tensors)), shift_(shift) {
    policy_ = Policy::create(model, {}).value();
  }
  Result<std::vector<float>> logps(const TrainBatch& batch, double temperature, int64_t max_tokens,
                                   int64_t chunk, std::stop_token stop) override {
    TRY(out, batch_logps(*policy_, batch, temperature, max_tokens, chunk, stop));
    if (shift_ != 0) out[4] += shift_;
    return out;
  }
  Status after_step(int64_t step, const Policy&) override {
    version_ = step;
    return ok_status();
  }
  int64_t version() const override { return version_; }
  const std::string& content_hash() const override { return hash_; }
  std::string origin() const override { return "a fake"; }
  bool is_soup() const override { return false; }
  TensorMap save() const override {
    return {{"moved", make_tensor({1}, std::vector<float>{float(version_)})}};
  }
  Status load(const TensorMap& tensors, int64_t version) override {
    if (!tensors.contains("moved")) return invalid_argument("no tensor 'moved'");
    version_ = version;
    return ok_status();
  }

 private:
  std::unique_ptr<Policy> policy_;
  std::string hash_;
  float shift_;
  int64_t version_ = 0;
};

inline LearnerOptions fast_options() {
  LearnerOptions out;
  out.config.learning_rate = 0.01;
  out.config.max_grad_norm = 0;
  out.config.logits_chunk = 128;  // all targets of batch_of()
  out.max_steps = 100;
  return out;
}

inline const Model& start() {
  static const Model model = lively_model(tiny_spec());
  return model;
}

inline TrainBatch batch_of(uint64_t seed) {
  return random_batch(tiny_spec(), {{4, {6, 3, 8, 8}}, {7, {5, 1, 12, 2}}, {2, {20, 9}}}, seed);
}

struct Rig {
  std::shared_ptr<Fake> fake = std::make_shared<Fake>();
  std::unique_ptr<Learner> learner;

  explicit Rig(const LearnerOptions& options = fast_options(), Needs needs = {}, float reference_shift = 0) {
    fake->needs = needs;
    std::unique_ptr<Reference> reference;
    if (needs.reference_logps) reference = std::make_unique<FakeReference>(start(), reference_shift);
    auto made =
        Learner::create(start(), options, std::make_unique<FakeObjective>(fake), std::move(reference));
    EXPECT_TRUE(made.ok()) << made.status().message();
    learner = std::move(made).value();
  }
  Metrics step(uint64_t seed) {
    auto metrics = learner->step(batch_of(seed), {});
    EXPECT_TRUE(metrics.ok()) << metrics.status().message();
    return metrics.ok() ? *metrics : Metrics{};
  }
};

// But what measures the machine.
inline void expect_same_metrics(const Metrics& a, const Metrics& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, m] : a) {
    if (name.starts_with("timing_s/")) continue;
    EXPECT_EQ(m.sum, b.at(name).sum) << name;
    EXPECT_EQ(m.count, b.at(name).count) << name;
  }
}

inline std::string state_hash(const Learner& learner) {
  const LearnerState state = learner.save();
  return content_hash(state.tensors) + dump_json(state.host);
}

}  // namespace fulcrum::testing
