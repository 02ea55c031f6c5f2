// DPH-RL on a language that can be enumerated: where rewards say nothing, rehearsal leads the policy back to
// the one whose samples were stored.
#include <gtest/gtest.h>

#include "engine/divergence/divergence.h"
#include "tests/support/objective_run.h"
#include "tests/support/objectives.h"
#include "tests/support/tabular_world.h"

namespace fulcrum {
namespace {

using testing::ObjectiveRun;
using testing::TabularWorld;

constexpr int64_t kParts = 9;

// Each sequence once as an exploration row without a reward, and once more for each time the initial policy
// draws it, as rehearsal.
struct Stored {
  TabularWorld world{6, 3, 5};
  at::Tensor initial_PV = world.rational_PV(1, kParts);
  std::vector<int64_t> copies_S = world.draws_S(initial_PV, kParts);
  at::Tensor token_N;

  Stored() {
    for (int64_t& copies : copies_S) ++copies;
    token_N = world.token_of_N(copies_S);
  }
  TrainBatch batch(const at::Tensor& policy_PV) const {
    TrainBatch out = world.batch(policy_PV, initial_PV, copies_S);
    out.stored_logps = out.reference_logps;
    size_t row = 0;
    for (const int64_t copies : copies_S)
      for (int64_t c = 0; c < copies; ++c) out.rows[row++].rehearsal = c > 0;
    return out;
  }
};

double distance_reached(const Stored& s, const std::string& divergence) {
  ObjectiveConfig config = testing::config_of("dph_rl");
  config.f_divergence_type = divergence;
  config.dph_eta = 1;
  const auto objective = testing::make(config);
  const GeneratorFacts facts = (*make_divergence(divergence))->facts();
  const at::Tensor initial_S = s.world.sequence_logps_S(s.initial_PV);
  const double tokens_per_row = (initial_S.exp().dot(s.world.lengths_S())).item<double>();
  at::Tensor policy_PV = s.world.random_PV(2, 0.7);
  double distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), initial_S);
  EXPECT_GT(distance, 0.1) << "there is a way to go";
  ObjectiveState state;
  for (int step = 0; step < 3000 && distance > 5e-4; ++step) {
    // The slope of total variation does not fall off near its minimum, so its rate has to.
    const double rate = facts.smooth ? 0.25 / facts.curvature_at_one : 0.5 / (1 + step / 20.0);
    const at::Tensor logps_N = s.world.token_logps_N(policy_PV).index_select(0, s.token_N);
    const ObjectiveRun run = testing::run_objective(*objective, state, s.batch(policy_PV), logps_N);
    EXPECT_TRUE(run.status.ok()) << run.status.message();
    const at::Tensor gradient_PV =
        s.world.to_logits_PV(policy_PV, s.world.sum_copies_N(run.gradient_N, s.copies_S));
    policy_PV = policy_PV - rate * tokens_per_row * s.world.natural_PV(s.initial_PV, gradient_PV);
    distance = TabularWorld::total_variation(s.world.sequence_logps_S(policy_PV), initial_S);
  }
  return distance;
}

TEST(DphRlWorld, WithoutRewardsEveryDivergenceLeadsBackToTheInitialPolicy) {
  const Stored s;
  for (const std::string& name : divergence_names()) EXPECT_LT(distance_reached(s, name), 1e-3) << name;
}

}  // namespace
}  // namespace fulcrum
