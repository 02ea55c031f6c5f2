#include "engine/learner/learner.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "tests/unit/engine/learner/learner_rig.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// The gradient of the first step, out of AdamW's first moment.
std::vector<float> first_gradient(int64_t max_tokens, int64_t logits_chunk = 128) {
  LearnerOptions options = fast_options();
  options.config.max_tokens_per_micro_batch = max_tokens;
  options.config.logits_chunk = logits_chunk;
  Rig rig(options);
  rig.step(1);
  std::vector<float> out;
  const LearnerState state = rig.learner->save();
  for (const auto& [name, tensor] : state.tensors) {
    if (!name.starts_with("exp_avg/")) continue;
    const std::vector<float> moment = to_float(tensor).value();
    for (const float v : moment) out.push_back(v / 0.1f);
  }
  return out;
}

TEST(Learner, TheGradientDoesNotDependOnTheMicroBatchesAndTheirPartsAtTheHead) {
  const std::vector<float> whole = first_gradient(1 << 20);
  double scale = 0;
  for (const float g : whole) scale += static_cast<double>(g) * g;
  ASSERT_GT(scale, 1e-4);
  // A chunk of 7 cuts single rows, of 16 and 40 between them.
  for (const auto& [limit, chunk] : {std::pair(1, 128),
                                     {17, 128},
                                     {30, 128},
                                     {64, 128},
                                     {1 << 20, 1},
                                     {1 << 20, 7},
                                     {1 << 20, 16},
                                     {1 << 20, 40},
                                     {30, 7}}) {
    const std::vector<float> split = first_gradient(limit, chunk);
    ASSERT_EQ(split.size(), whole.size());
    double error = 0;
    for (size_t i = 0; i < whole.size(); ++i) error += std::pow(static_cast<double>(split[i]) - whole[i], 2);
    EXPECT_LT(std::sqrt(error / scale), 1e-6) << limit << " " << chunk;
  }
}

TEST(Learner, TheGradientIsThatOfThePlainFormula) {
  const std::vector<float> got = first_gradient(30);
  const PlainWeights plain = plain_weights(start());
  const TrainBatch batch = batch_of(1);
  const at::Tensor logps = plain_logps(batch, plain, tiny_spec(), 1);
  const at::Tensor weights = (at::arange(logps.numel(), at::kDouble) * 0.3 + 1).cos();
  (-(logps * weights).sum() / static_cast<double>(logps.numel())).backward();
  size_t i = 0;
  for (const auto& [name, w] : plain) {
    const at::Tensor want = w.grad().flatten();
    for (int64_t j = 0; j < want.numel(); ++j)
      ASSERT_NEAR(got[i++], want[j].item<double>(), 2e-6) << name << " " << j;
  }
  EXPECT_EQ(i, got.size());
}

TEST(Learner, SavedAndLoadedItGoesOnBitEqual) {
  LearnerOptions options = fast_options();
  options.num_iterations = 2;
  options.config.max_grad_norm = 0.5;
  options.config.warmup_steps = 2;
  options.config.lr_scheduler_type = "cosine";
  const Needs needs{.old_logps = true, .reference_logps = true, .entropy = true};
  Rig straight(options, needs);
  std::vector<Metrics> expected;
  for (uint64_t s = 0; s < 6; ++s) expected.push_back(straight.step(s));

  Rig first(options, needs), second(options, needs);
  for (uint64_t s = 0; s < 3; ++s) expect_same_metrics(first.step(s), expected[s]);
  LearnerState state = first.learner->save();
  state.host = parse_json(dump_json(state.host)).value();
  const Status loaded = second.learner->load(state);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  EXPECT_EQ(second.learner->steps_done(), 3);
  for (uint64_t s = 3; s < 6; ++s) expect_same_metrics(second.step(s), expected[s]);
  EXPECT_EQ(state_hash(*second.learner), state_hash(*straight.learner));
  EXPECT_EQ(second.fake->prepared.back(), 6);  // the objective's state came along
}

TEST(Learner, ADamagedStateIsRefused) {
  Rig rig;
  rig.step(0);
  LearnerState state = rig.learner->save();
  LearnerState missing = state;
  missing.tensors.erase("param/model.norm.weight");
  EXPECT_EQ(rig.learner->load(missing).code(), Code::kInvalidArgument);
  LearnerState other = state;
  other.tensors["param/model.norm.weight"] = make_tensor({3}, std::vector<float>{1, 2, 3});
  const Status status = rig.learner->load(other);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("model.norm.weight"), std::string::npos);
}

TEST(Learner, OldLogpsAreTheCurrentOnesInTheFirstPassAndStayInTheSecond) {
  LearnerOptions options = fast_options();
  options.num_iterations = 2;
  Rig rig(options, {.old_logps = true});
  rig.step(1);
  ASSERT_EQ(rig.fake->seen_old.size(), 2u);
  EXPECT_TRUE(rig.fake->seen_old[0].equal(rig.fake->seen_old[1]));
  EXPECT_FALSE(rig.fake->seen_old[0].requires_grad());
}

TEST(Learner, FetchesNothingThatIsNotAskedFor) {
  Rig rig;
  const Metrics metrics = rig.step(1);
  EXPECT_FALSE(rig.fake->seen_old[0].defined());
  EXPECT_FALSE(rig.fake->seen_reference[0].defined());
  EXPECT_FALSE(metrics.contains("entropy"));
  EXPECT_FALSE(metrics.contains("sampling/sampling_logp_difference/mean"));
}

TEST(Learner, ReportsTrlsMetrics) {
  LearnerOptions options = fast_options();
  options.config.max_tokens_per_micro_batch = 30;
  Rig rig(options, {.entropy = true});
  TrainBatch batch = batch_of(1);
  batch.sampling_logps = rig.learner->logps(batch, {}).value();
  batch.sampling_logps[2] += 0.25f;
  batch.target_mask[3] = 0;
  batch.sampling_logps[3] += 5.0f;  // does not enter the loss, so does not count
  const auto metrics = rig.learner->step(batch, {});
  ASSERT_TRUE(metrics.ok()) << metrics.status().message();
  const double counted = static_cast<double>(batch.num_targets() - 1);
  EXPECT_NEAR(metrics->at("sampling/sampling_logp_difference/max").mean(), 0.25, 1e-5);
  EXPECT_NEAR(metrics->at("sampling/sampling_logp_difference/mean").mean(), 0.25 / counted, 1e-5);
  EXPECT_EQ(metrics->at("num_tokens").mean(), static_cast<double>(batch.num_tokens()));
  EXPECT_EQ(metrics->at("learning_rate").mean(), 0.01);
  EXPECT_EQ(metrics->at("guards/skipped_steps").mean(), 0);
  EXPECT_GT(metrics->at("grad_norm").mean(), 0);
  EXPECT_EQ(metrics->at("entropy").count, counted);
  EXPECT_GT(metrics->at("entropy").mean(), 0.1);
  EXPECT_LT(metrics->at("entropy").mean(), std::log(23.0));
  EXPECT_EQ(metrics->at("loss").count, 1);
}

TEST(Learner, LearnsWhatTheLossAsksFor) {
  LearnerOptions options = fast_options();
  Rig rig(options);
  TrainBatch batch = batch_of(1);
  const auto weighted = [&] {
    const std::vector<float> logps = rig.learner->logps(batch, {}).value();
    double sum = 0;
    for (size_t i = 0; i < logps.size(); ++i) sum += logps[i] * std::cos(0.3 * static_cast<double>(i) + 1);
    return sum;
  };
  const double before = weighted();
  ASSERT_TRUE(rig.learner->step(batch, {}).ok());
  EXPECT_GT(weighted(), before + 0.1);
}

TEST(Learner, EvaluationChangesNothing) {
  Rig rig(fast_options(), {.old_logps = true, .reference_logps = true});
  const std::string before = state_hash(*rig.learner);
  const auto measured = rig.learner->evaluate(batch_of(1), {});
  ASSERT_TRUE(measured.ok()) << measured.status().message();
  EXPECT_EQ(state_hash(*rig.learner), before);
  const Metrics trained = rig.step(1);
  EXPECT_EQ(measured->at("loss").sum, trained.at("loss").sum);
}

TEST(Learner, ACancelledStepChangesNothing) {
  for (const int stop_at : {0, 2, 5}) {  // the first and a later micro-batch, and one of the second iteration
    LearnerOptions options = fast_options();
    options.num_iterations = 2;
    options.config.max_tokens_per_micro_batch = 30;
    Rig rig(options, {.reference_logps = true});
    rig.step(0);
    const std::string before = state_hash(*rig.learner);
    const int calls = rig.fake->loss_calls;
    ASSERT_GE(calls, 6) << "the batch must have several micro-batches";
    std::stop_source stop;
    rig.fake->on_loss = [&](int call) {
      if (call == calls + stop_at) stop.request_stop();
    };
    EXPECT_EQ(rig.learner->step(batch_of(1), stop.get_token()).status().code(), Code::kCancelled);
    EXPECT_EQ(rig.fake->loss_calls, calls + stop_at + 1);
    EXPECT_EQ(state_hash(*rig.learner), before);

    Rig same(options, {.reference_logps = true});
    same.step(0);
    expect_same_metrics(rig.step(1), same.step(1));
  }
}

TEST(Learner, ANonFiniteStepIsSkippedAndCountedAndTheThirdInARowStops) {
  Rig rig;
  rig.step(0);
  const TensorMap before = rig.learner->weights();
  rig.fake->factor = std::numeric_limits<float>::infinity();
  for (const double skipped : {1.0, 2.0}) {
    const Metrics metrics = rig.step(1);
    EXPECT_EQ(metrics.at("guards/skipped_steps").mean(), skipped);
    EXPECT_FALSE(metrics.contains("loss"));
    EXPECT_EQ(content_hash(rig.learner->weights()), content_hash(before));
  }
  const auto third = rig.learner->step(batch_of(1), {});
  EXPECT_EQ(third.status().code(), Code::kDataLoss);
  EXPECT_NE(third.status().message().find("max_skipped_steps"), std::string::npos)
      << third.status().message();
  EXPECT_EQ(content_hash(rig.learner->weights()), content_hash(before));
}

// AdamW's momentum alone would move the weights.
TEST(Learner, AStepWithoutAGradientMovesNothing) {
  Rig rig;
  EXPECT_EQ(rig.step(0).at("guards/zero_gradient").mean(), 0);
  const TensorMap before = rig.learner->weights();
  rig.fake->factor = 0;
  EXPECT_EQ(rig.step(1).at("guards/zero_gradient").mean(), 1);
  EXPECT_EQ(rig.learner->steps_done(), 2);
  EXPECT_EQ(content_hash(rig.learner->weights()), content_hash(before));
}

TEST(Learner, AGoodStepBetweenResetsTheCount) {
  Rig rig;
  for (int i = 0; i < 4; ++i) {
    rig.fake->factor = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
    rig.step(1);
  }
  EXPECT_EQ(rig.learner->steps_done(), 4);
}

TEST(Learner, AtTheFirstStepAnEqualReferenceMustGiveEqualLogps) {
  Rig good(fast_options(), {.reference_logps = true});
  good.step(1);
  Rig bad(fast_options(), {.reference_logps = true}, 0.01f);
  const std::string before = state_hash(*bad.learner);
  const auto result = bad.learner->step(batch_of(1), {});
  EXPECT_EQ(result.status().code(), Code::kDataLoss);
  EXPECT_NE(result.status().message().find("row 100, token 4"), std::string::npos)
      << result.status().message();
  EXPECT_EQ(state_hash(*bad.learner), before);
}

TEST(Learner, AtTheFirstStepStoredSamplesHaveThePolicysLogps) {
  Rig rig;
  TrainBatch batch = batch_of(1);
  batch.rows.back().rehearsal = true;
  batch.stored_logps = *rig.learner->logps(batch, {});
  TrainBatch wrong = batch;
  wrong.stored_logps.back() += 0.01f;
  EXPECT_EQ(rig.learner->step(wrong, {}).status().code(), Code::kDataLoss);
  EXPECT_EQ(rig.learner->steps_done(), 0);
  EXPECT_TRUE(rig.learner->step(batch, {}).ok());
  EXPECT_TRUE(rig.learner->step(wrong, {}).ok()) << "once the policy has moved they differ";
}

TEST(Learner, RewardsWithoutSpreadStopTheRunWhenAskedTo) {
  LearnerOptions options = fast_options();
  options.config.max_zero_std_steps = 2;
  Rig rig(options);
  TrainBatch batch = batch_of(1);
  for (BatchRow& row : batch.rows) row.has_reward = true;
  EXPECT_TRUE(rig.learner->step(batch, {}).ok());
  EXPECT_EQ(rig.learner->step(batch, {}).status().code(), Code::kDataLoss);
}

TEST(Learner, TorchsExceptionsBecomeErrors) {
  Rig rig;
  rig.fake->on_loss = [](int) { TORCH_CHECK(false, "shapes\ndo not fit"); };
  const auto result = rig.learner->step(batch_of(1), {});
  EXPECT_EQ(result.status().code(), Code::kInternal);
  EXPECT_NE(result.status().message().find("shapes\\ndo not fit"), std::string::npos)
      << result.status().message();
  rig.fake->on_loss = [](int) {};
  rig.step(1);
}

TEST(Learner, RefusesWhatCannotWork) {
  const auto create = [](const LearnerOptions& options, Needs needs) {
    auto fake = std::make_shared<Fake>();
    fake->needs = needs;
    return Learner::create(start(), options, std::make_unique<FakeObjective>(fake), nullptr).status().code();
  };
  EXPECT_EQ(create(fast_options(), {.reference_logps = true}), Code::kInvalidArgument);
  LearnerOptions greedy = fast_options();
  greedy.temperature = 0;
  EXPECT_EQ(create(greedy, {}), Code::kInvalidArgument);
  Rig rig;
  TrainBatch foreign = batch_of(1);
  foreign.tokens[0] = 23;
  EXPECT_EQ(rig.learner->step(foreign, {}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(rig.learner->step(TrainBatch{}, {}).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
