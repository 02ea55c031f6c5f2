// A prepared batch that is cut into minibatches: what settle() makes of each.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/data/mini_batches.h"
#include "engine/data/pack.h"
#include "engine/data/slice.h"
#include "tests/support/objective_run.h"
#include "tests/support/objectives.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// Seven prompts with completions of many lengths, an empty one, one cut short and one without a verdict;
// every token has an id of its own. What models say of a token is a function of its id.
TrainBatch batch_for(const ObjectiveConfig& config) {
  BatchBuilder builder;
  TokenId next = 0;
  const auto tokens = [&](int n) {
    std::vector<TokenId> out;
    for (int i = 0; i < n; ++i) out.push_back(next++);
    return out;
  };
  const std::vector<std::vector<int>> shapes = {{3, 5, 1}, {2, 0, 4}, {7}, {1, 1}, {4, 2, 6, 3}, {2, 5}, {0}};
  int64_t number = 0, group = 0;
  for (const std::vector<int>& lengths : shapes) {
    builder.begin_group(tokens(2));
    ++group;
    for (const int n : lengths) {
      const double reward = std::cos(1.7 * static_cast<double>(number++));
      builder.add_row(
          tokens(n),
          {.prompt_row = 40 + group, .truncated = number == 5, .has_reward = number != 9, .reward = reward});
    }
  }
  if (config.trainer == "dph_rl") {
    for (const int n : {4, 1, 2}) {
      builder.begin_group(tokens(3));
      builder.add_row(tokens(n), {.prompt_row = 90, .rehearsal = true});
    }
  }
  TrainBatch batch = builder.take();
  for (const TokenId id : batch.target_ids) {
    const auto x = static_cast<double>(id);
    batch.old_logps.push_back(static_cast<float>(-1.5 + std::sin(x)));
    batch.sampling_logps.push_back(static_cast<float>(-1.5 + std::sin(x) + 0.05 * std::cos(3 * x)));
    batch.reference_logps.push_back(static_cast<float>(-1.6 + 0.8 * std::sin(x + 0.2)));
    batch.stored_logps.push_back(static_cast<float>(-1.4 + 0.9 * std::sin(x - 0.1)));
    batch.old_values.push_back(static_cast<float>(0.3 * std::cos(2 * x)));
  }
  return batch;
}

struct TokenGradient {
  double logp = 0, value = 0;
};

// The gradient of one optimizer step in each target's log-prob and value, times what the step divides by.
void add_gradients(const Objective& objective, const TrainBatch& batch,
                   std::map<TokenId, TokenGradient>& into) {
  const at::Tensor ids_N = at::tensor(batch.target_ids, at::kDouble);
  const at::Tensor logps_N = (doubles_of(batch.old_logps) + 0.15 * ids_N.cos()).requires_grad_(true);
  LossInput input = loss_input(batch, logps_N, objective.needs());
  if (input.values_N.defined())
    input.values_N = (input.values_N + 0.1 * ids_N.sin()).detach().requires_grad_(true);
  const auto loss = objective.loss(input);
  ASSERT_TRUE(loss.ok()) << loss.status().message();
  loss->loss.backward();
  const auto gradient = [](const at::Tensor& x, size_t n) {
    return x.defined() && x.grad().defined() ? x.grad().const_data_ptr<double>()[n] : 0.0;
  };
  for (size_t n = 0; n < batch.target_ids.size(); ++n) {
    const bool rehearsal = batch.rows[static_cast<size_t>(batch.target_row[n])].rehearsal;
    const double denominator = rehearsal ? batch.rehearsal_denominator : batch.denominator;
    EXPECT_FALSE(into.contains(batch.target_ids[n])) << "a target trains once";
    into[batch.target_ids[n]] = {denominator * gradient(logps_N, n),
                                 denominator * gradient(input.values_N, n)};
  }
}

std::vector<ObjectiveConfig> prompt_configs() {
  std::vector<ObjectiveConfig> out;
  for (const std::string& trainer : trainer_names()) {
    if (trainer_rows(trainer) != RowFormat::kPrompt) continue;
    ObjectiveConfig c = config_of(trainer);
    c.num_mini_batches = 3;
    if (trainer == "f_dpg" || trainer == "alpha_dpg") c.f_dpg.target = "reward";
    if (trainer != "alpha_dpg") c.beta = 0.1;
    if (trainer == "alpha_dpg") {
      c.f_dpg.target = "constraints";
      c.f_dpg.constraints = {{"good", 1}};
    }
    out.push_back(c);
    if (trainer != "grpo" && trainer != "dph_rl" && trainer != "ppo") continue;
    for (const std::string mode : {"seq_mean_token_mean", "seq_mean_token_mean_all_rows",
                                   "seq_mean_token_sum", "seq_sum_over_const", "seq_mean_over_const"}) {
      c.surrogate.loss_agg_mode = mode;
      out.push_back(c);
    }
  }
  return out;
}

// So that no minibatch counts for more than its share: only the denominator tells its step from the batch's.
TEST(MiniBatches, GradientsTimesDenominatorsAreThoseOfTheWholeBatchForEveryTrainer) {
  for (const ObjectiveConfig& config : prompt_configs()) {
    SCOPED_TRACE(config.trainer + " " + config.surrogate.loss_agg_mode);
    const auto objective = make(config);
    TrainBatch batch = batch_for(config);
    for (BatchRow& row : batch.rows) {
      if (row.has_reward) row.parts["good"] = row.reward > 0 ? 1 : 0;
    }
    ObjectiveState state;
    Metrics metrics;
    const Status prepared = objective->prepare(batch, state, metrics);
    ASSERT_TRUE(prepared.ok()) << prepared.message();

    TrainBatch again = batch;
    again.denominator = again.rehearsal_denominator = -1;
    objective->settle(again);
    EXPECT_EQ(again.denominator, batch.denominator);
    if (config.trainer == "dph_rl") {
      EXPECT_EQ(again.rehearsal_denominator, batch.rehearsal_denominator);
    }

    std::map<TokenId, TokenGradient> whole, cut;
    add_gradients(*objective, batch, whole);
    Rng rng(1, Purpose::kTest);
    for (const std::vector<int64_t>& groups : deal_groups(batch, 3, rng)) {
      TrainBatch part = gather(batch, groups);
      objective->settle(part);
      EXPECT_GT(part.denominator, 0);
      add_gradients(*objective, part, cut);
    }
    ASSERT_EQ(cut.size(), whole.size());
    double size = 0;
    for (const auto& [id, g] : whole) {
      EXPECT_NEAR(cut[id].logp, g.logp, 1e-12 * std::max(1.0, std::abs(g.logp))) << id;
      EXPECT_NEAR(cut[id].value, g.value, 1e-12 * std::max(1.0, std::abs(g.value))) << id;
      size += std::abs(g.logp);
    }
    EXPECT_GT(size, 0.1);
  }
}

}  // namespace
}  // namespace fulcrum
