// Where the losses over pairs lead on a language that can be enumerated, five tokens and three of them a
// completion: every ordered pair of the 125, weighted by the Bradley-Terry probability of its order, through
// the product's objectives and its chunked divergences. The closed forms are those of f-DPO (arXiv
// 2309.16240: pi = reference (f')^-1((r - lambda)/beta)) and of TDPO's token-level advantage (arXiv
// 2404.11999).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "engine/divergence/generators/table.h"
#include "engine/objective/dpo_link.h"
#include "policy/nn/token_divergences.h"
#include "tests/support/objectives.h"
#include "tests/support/tabular_world.h"

namespace fulcrum {
namespace {

using testing::config_of;
using testing::largest;
using testing::make;
using testing::TabularWorld;

// Few rewards, so that few pairs of them have a probability of their own.
constexpr std::array<double, 3> kRewards = {-0.8, 0.1, 0.9};

// Every ordered pair of a completion with the one reward and another with the other.
struct Pairing {
  TrainBatch batch;
  at::Tensor token_N;      // of each target, the world's
  double probability = 0;  // that the first is preferred
};

struct Setting {
  TabularWorld world;
  at::Tensor reference_PV = world.random_PV(1, 0.7);
  std::vector<double> reward_S;
  std::vector<Pairing> pairings;

  Setting() {
    Rng rng(2, Purpose::kTest);
    for (int64_t s = 0; s < world.size(); ++s) reward_S.push_back(kRewards[rng.below(kRewards.size())]);
    for (const double won : kRewards)
      for (const double lost : kRewards) pairings.push_back(pairing(won, lost));
  }
  at::Tensor rewards_S() const { return at::tensor(reward_S, at::kDouble); }

 private:
  Pairing pairing(double won, double lost) const {
    Pairing out;
    out.probability = 1 / (1 + std::exp(lost - won));
    std::vector<int64_t> tokens;
    for (int64_t a = 0; a < world.size(); ++a) {
      for (int64_t b = 0; b < world.size(); ++b) {
        if (a == b || reward(a) != won || reward(b) != lost) continue;
        add_row(a, out.batch, tokens);
        add_row(b, out.batch, tokens);
      }
    }
    out.batch.denominator = static_cast<double>(world.size() * (world.size() - 1));
    out.token_N = at::tensor(tokens, at::kLong);
    return out;
  }
  double reward(int64_t s) const { return reward_S[static_cast<size_t>(s)]; }
  // All sequences are of one length.
  void add_row(int64_t s, TrainBatch& batch, std::vector<int64_t>& tokens) const {
    const auto& sequence = world.sequences()[static_cast<size_t>(s)];
    const int64_t begin = batch.num_targets(), n = std::ssize(sequence);
    for (int64_t t = 0; t < n; ++t) {
      tokens.push_back(s * n + t);
      batch.target_ids.push_back(sequence[static_cast<size_t>(t)]);
      batch.target_row.push_back(batch.num_rows());
      batch.target_mask.push_back(1);
    }
    batch.rows.push_back({.target_begin = begin, .target_end = begin + n});
  }
};

struct Population {
  double loss = 0;
  at::Tensor gradient_PV;
};

Population population(const Setting& s, const Objective& objective, const at::Tensor& table_PV) {
  const at::Tensor leaf_PV = table_PV.detach().clone().set_requires_grad(true);
  const at::Tensor eye = at::eye(table_PV.size(1), at::kDouble);
  const auto kl = objective.divergence() ? objective.divergence() : *make_divergence("forward_kl");
  const TokenDivergences said =
      token_divergences({s.world.prefix_of_N(leaf_PV), eye}, {s.world.prefix_of_N(s.reference_PV), eye},
                        s.world.ids_N(), kl, 1, 64);
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (const Pairing& p : s.pairings) {
    LossInput input(p.batch);
    input.logps_N = said.logps_N.index_select(0, p.token_N);
    input.divergence_N = said.divergence_N.index_select(0, p.token_N);
    input.reference_logps_N = said.reference_logps_N.index_select(0, p.token_N);
    input.row_N = at::tensor(p.batch.target_row, at::kLong);
    input.mask_N = at::ones({p.batch.num_targets()}, at::kBool);
    const auto share = objective.loss(input);
    EXPECT_TRUE(share.ok()) << share.status().message();
    loss = loss + p.probability * share->loss;
  }
  loss.backward();
  return {loss.item<double>(), leaf_PV.grad()};
}

// Descent from the reference, with the step of Barzilai and Borwein (s.s / s.y, of the last move s and the
// gradient's change y), each prefix's gradient divided by the share of the completions that pass it.
at::Tensor descend(const Setting& s, const Objective& objective, double until) {
  at::Tensor table_PV = s.reference_PV.clone(), last_PV, moved_PV;
  double rate = 1;
  for (int step = 0; step < 3000; ++step) {
    const at::Tensor gradient_PV = population(s, objective, table_PV).gradient_PV;
    if (largest(gradient_PV) < until) break;
    const at::Tensor natural_PV = s.world.natural_PV(s.world.uniform_PV(), gradient_PV);
    if (last_PV.defined()) {
      const double bent = (moved_PV * (natural_PV - last_PV)).sum().item<double>();
      if (bent > 0) rate = moved_PV.square().sum().item<double>() / bent;
    }
    moved_PV = -rate * natural_PV;
    // Far from the optimum a step is not to be believed.
    moved_PV = moved_PV * std::min(1.0, 0.5 / largest(moved_PV));
    last_PV = natural_PV;
    table_PV = table_PV + moved_PV;
  }
  return table_PV;
}

// pi = reference (f')^-1((r - lambda)/beta), lambda from sum pi = 1.
at::Tensor closed_form_S(const Setting& s, const Divergence& f, double beta) {
  const at::Tensor log_ref_S = s.world.sequence_logps_S(s.reference_PV);
  const auto at_lambda = [&](double lambda) {
    std::vector<double> log_ratio_S;
    for (const double r : s.reward_S) {
      const double l = f.at_log_ratio(Quantity::kInverseSlope, (r - lambda) / beta);
      log_ratio_S.push_back(std::isnan(l) ? 50.0 : std::min(l, 50.0));  // beyond the slope's range: too much
    }
    return log_ref_S + at::tensor(log_ratio_S, at::kDouble);
  };
  double low = -100, high = 100;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    (at_lambda(middle).logsumexp(0).item<double>() > 0 ? low : high) = middle;
  }
  return at_lambda(high);
}

double distance(const Setting& s, const at::Tensor& table_PV, const at::Tensor& log_pi_S) {
  return TabularWorld::total_variation(s.world.sequence_logps_S(table_PV), log_pi_S);
}

std::unique_ptr<Objective> tdpo(const std::string& loss_type, double beta,
                                std::optional<double> alpha = std::nullopt) {
  ObjectiveConfig config = config_of("tdpo", loss_type);
  config.beta = beta;
  config.tdpo_alpha = alpha;
  return make(config);
}

TEST(PreferenceWorld, FDpoReachesItsClosedFormForEveryAdmissibleLink) {
  const double beta = 0.7;
  const Setting s;
  int links = 0;
  for (const auto& [name, alpha] : testing::generators_and_orders({-0.5, 0.0, 0.3, 0.8, 1.0})) {
    SCOPED_TRACE(name + " " + std::to_string(alpha));
    const auto f = make_divergence(name, {.alpha = alpha}).value();
    if (!DpoLink::create(f, std::nullopt).ok()) continue;
    ++links;
    ObjectiveConfig config = config_of("dpo");
    config.f_divergence_type = name;
    config.f_alpha_divergence_coef = alpha;
    config.f_exponent_cap = std::nullopt;
    config.beta = beta;
    const auto dpo = make(config);
    const at::Tensor want_S = closed_form_S(s, *f, beta);
    EXPECT_NEAR(want_S.exp().sum().item<double>(), 1, 1e-12);
    EXPECT_LT(largest(population(s, *dpo, s.world.logits_PV(want_S)).gradient_PV), 1e-10);
    EXPECT_GT(distance(s, s.reference_PV, want_S), 0.1) << "there is a way to go";
    EXPECT_LT(distance(s, descend(s, *dpo, 1e-10), want_S), 1e-6);
  }
  EXPECT_GE(links, 11);
}

TEST(PreferenceWorld, TdpoAtAlphaZeroHasDposLossGradientAndOptimum) {
  const double beta = 0.5;
  const Setting s;
  ObjectiveConfig config = config_of("dpo", "sigmoid");
  config.beta = beta;
  const auto without = tdpo("tdpo2", beta, 0.0), dpo = make(config);
  const at::Tensor somewhere_PV = s.world.random_PV(3);
  const Population a = population(s, *without, somewhere_PV), b = population(s, *dpo, somewhere_PV);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_TRUE(a.gradient_PV.equal(b.gradient_PV));
  const at::Tensor optimum_S =
      (s.world.sequence_logps_S(s.reference_PV) + s.rewards_S() / beta).log_softmax(0);
  EXPECT_LT(largest(population(s, *without, s.world.logits_PV(optimum_S)).gradient_PV), 1e-12);
  EXPECT_LT(distance(s, descend(s, *without, 1e-9), optimum_S), 1e-6);
}

// beta (log pi/reference + KL(reference || pi)) of a token is its advantage q less than its mean under the
// reference, so pi = reference exp(q/beta)/Z with q the change of the expected reward under the reference.
at::Tensor advantage_PV(const Setting& s, double beta) {
  const at::Tensor ref_PV = s.reference_PV.softmax(1);
  const auto expected = [&](const at::Tensor& row_V, int64_t p) { return (ref_PV[p] * row_V).sum(); };
  const at::Tensor value_PV = s.world.backed_up_PV(s.rewards_S(), expected);
  return s.reference_PV + (value_PV - (ref_PV * value_PV).sum(1, true)) / beta;
}

TEST(PreferenceWorld, Tdpo1IsStationaryWhereItsTokensAdvantagesExplainThePreferences) {
  for (const double beta : {0.3, 1.0}) {
    const Setting s;
    const auto tdpo1 = tdpo("tdpo1", beta);
    EXPECT_LT(largest(population(s, *tdpo1, advantage_PV(s, beta)).gradient_PV), 1e-12) << beta;
    EXPECT_GT(largest(population(s, *tdpo1, s.reference_PV).gradient_PV), 1e-4);
  }
}

TEST(PreferenceWorld, Tdpo1DescendsToAStationaryPoint) {
  const Setting s;
  const auto tdpo1 = tdpo("tdpo1", 0.5);
  const at::Tensor found_PV = descend(s, *tdpo1, 1e-9);
  EXPECT_LT(largest(population(s, *tdpo1, found_PV).gradient_PV), 1e-8);
  EXPECT_LT(largest(found_PV.softmax(1) - advantage_PV(s, 0.5).softmax(1)), 1e-5);
}

}  // namespace
}  // namespace fulcrum
