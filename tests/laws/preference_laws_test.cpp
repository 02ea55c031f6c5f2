// Where the losses over pairs lead on worlds that can be enumerated: every ordered pair of completions of one
// prompt, weighted by the Bradley-Terry probability of its order, through the product's objectives and its
// chunked divergences. The closed forms are those of f-DPO (arXiv 2309.16240, section 1 of its method: u =
// (f')^-1((r - lambda)/beta)) and of TDPO's token-level advantage (arXiv 2404.11999).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/divergence/generators/table.h"
#include "engine/objective/dpo_link.h"
#include "engine/objective/objective.h"
#include "policy/nn/token_divergences.h"

namespace fulcrum {
namespace {

// One completion: the rows of the table that predict its tokens, and the tokens.
struct Completion {
  std::vector<int64_t> states, tokens;
  double reward = 0;
};

// Policy and reference are tables of logits [S, V].
struct World {
  at::Tensor reference_SV;
  std::vector<Completion> completions;
};

double wave(double x) { return std::sin(12.9898 * x + 1.0); }

at::Tensor wavy_table(int64_t states, int64_t vocabulary) {
  return (at::arange(states * vocabulary, at::kDouble) * 1.7).sin().view({states, vocabulary});
}

// Five answers of one token.
World bandit() {
  World out{.reference_SV = wavy_table(1, 5), .completions = {}};
  for (int64_t a = 0; a < 5; ++a)
    out.completions.push_back({.states = {0}, .tokens = {a}, .reward = wave(static_cast<double>(a))});
  return out;
}

// Nine answers of two tokens out of three.
World tree() {
  World out{.reference_SV = wavy_table(4, 3), .completions = {}};
  for (int64_t a = 0; a < 3; ++a) {
    for (int64_t b = 0; b < 3; ++b) {
      out.completions.push_back(
          {.states = {0, 1 + a}, .tokens = {a, b}, .reward = wave(static_cast<double>(3 * a + b))});
    }
  }
  return out;
}

struct Population {
  double loss = 0;
  at::Tensor gradient_SV;
};

// The loss of one ordered pair, with its graph.
at::Tensor pair_loss(const Objective& objective, const World& world, const at::Tensor& policy_SV,
                     const Completion& won, const Completion& lost) {
  TrainBatch batch;
  std::vector<int64_t> states;
  for (const Completion* c : {&won, &lost}) {
    BatchRow row;
    row.target_begin = batch.num_targets();
    for (size_t t = 0; t < c->tokens.size(); ++t) {
      states.push_back(c->states[t]);
      batch.target_ids.push_back(static_cast<TokenId>(c->tokens[t]));
      batch.target_row.push_back(batch.num_rows());
      batch.target_mask.push_back(1);
    }
    row.target_end = batch.num_targets();
    batch.rows.push_back(row);
  }
  const at::Tensor state_N = at::tensor(states, at::kLong);
  const at::Tensor eye = at::eye(policy_SV.size(1), at::kDouble);
  const auto kl = objective.divergence() ? objective.divergence() : *make_divergence("forward_kl");
  const TokenDivergences said = token_divergences(
      {policy_SV.index_select(0, state_N), eye}, {world.reference_SV.index_select(0, state_N), eye},
      at::tensor(at::ArrayRef<TokenId>(batch.target_ids), at::kLong), kl, 1, 3);
  LossInput input(batch);
  input.logps_N = said.logps_N;
  input.divergence_N = said.divergence_N;
  input.reference_logps_N = said.reference_logps_N;
  input.row_N = at::tensor(batch.target_row, at::kLong);
  input.mask_N = at::ones({batch.num_targets()}, at::kBool);
  auto loss = objective.loss(input);
  EXPECT_TRUE(loss.ok()) << loss.status().message();
  return loss->loss;
}

Population population(const Objective& objective, const World& world, const at::Tensor& table_SV) {
  const at::Tensor policy_SV = table_SV.detach().clone().requires_grad_(true);
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (const Completion& won : world.completions) {
    for (const Completion& lost : world.completions) {
      if (&won == &lost) continue;
      const double probability = 1 / (1 + std::exp(lost.reward - won.reward));
      loss = loss + probability * pair_loss(objective, world, policy_SV, won, lost);
    }
  }
  const auto pairs = static_cast<double>(world.completions.size() * (world.completions.size() - 1));
  loss = loss / pairs;
  loss.backward();
  return {loss.item<double>(), policy_SV.grad()};
}

// Levenberg's damped Newton steps, with the Jacobian of the gradient by differences, until the gradient is
// gone.
at::Tensor minimise(const Objective& objective, const World& world, at::Tensor table_SV, double until) {
  const int64_t n = table_SV.numel();
  double damping = 1e-3;
  Population here = population(objective, world, table_SV);
  for (int step = 0; step < 200 && here.gradient_SV.abs().max().item<double>() > until; ++step) {
    at::Tensor jacobian = at::empty({n, n}, at::kDouble);
    for (int64_t i = 0; i < n; ++i) {
      at::Tensor moved = table_SV.clone();
      moved.view(-1)[i] += 1e-6;
      jacobian[i] = (population(objective, world, moved).gradient_SV - here.gradient_SV).view(-1) / 1e-6;
    }
    jacobian = (jacobian + jacobian.t()) / 2;
    for (int attempt = 0; attempt < 40; ++attempt) {
      const at::Tensor damped = jacobian + damping * at::eye(n, at::kDouble);
      const at::Tensor by = at::linalg_solve(damped, here.gradient_SV.reshape({n, 1})).view(table_SV.sizes());
      const Population there = population(objective, world, table_SV - by);
      const bool better = there.loss < here.loss || there.gradient_SV.abs().max().item<double>() <
                                                        0.5 * here.gradient_SV.abs().max().item<double>();
      damping = better ? std::max(damping / 4, 1e-9) : damping * 4;
      if (!better) continue;
      table_SV = table_SV - by;
      here = there;
      break;
    }
  }
  return table_SV;
}

// pi = reference (f')^-1((r - lambda)/beta) of a bandit, lambda from sum pi = 1.
at::Tensor closed_form(const Divergence& f, const World& world, double beta) {
  const at::Tensor log_ref = world.reference_SV[0].log_softmax(0);
  const auto at_lambda = [&](double lambda) {
    std::vector<double> log_pi;
    for (size_t a = 0; a < world.completions.size(); ++a) {
      const double l = f.at_log_ratio(Quantity::kInverseSlope, (world.completions[a].reward - lambda) / beta);
      // Beyond the slope's range there is too much mass.
      log_pi.push_back(std::isnan(l) ? 50.0
                                     : std::min(l, 50.0) + log_ref[static_cast<int64_t>(a)].item<double>());
    }
    return at::tensor(log_pi, at::kDouble);
  };
  double low = -100, high = 100;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    (at_lambda(middle).logsumexp(0).item<double>() > 0 ? low : high) = middle;
  }
  return at_lambda(high).exp();
}

std::unique_ptr<Objective> objective(const std::string& trainer, const std::string& loss_type, double beta,
                                     std::optional<double> alpha = std::nullopt) {
  ObjectiveConfig config;
  config.trainer = trainer;
  config.loss_type = loss_type;
  config.beta = beta;
  config.tdpo_alpha = alpha;
  return make_objective(config).value();
}

TEST(PreferenceLaws, FDpoReachesItsClosedFormForEveryAdmissibleLink) {
  const double beta = 0.7;
  const World world = bandit();
  int links = 0;
  for (const std::string& name : divergence_names()) {
    for (const double alpha : {-0.5, 0.0, 0.3, 0.8, 1.0}) {
      if (name != "alpha_divergence" && alpha != 0.0) continue;
      SCOPED_TRACE(name + " " + std::to_string(alpha));
      const auto f = make_divergence(name, {.alpha = alpha}).value();
      if (!DpoLink::create(f, std::nullopt).ok()) continue;
      ++links;
      ObjectiveConfig config;
      config.trainer = "dpo";
      config.f_divergence_type = name;
      config.f_alpha_divergence_coef = alpha;
      config.f_exponent_cap = std::nullopt;
      config.beta = beta;
      const auto dpo = make_objective(config).value();
      const at::Tensor want = closed_form(*f, world, beta);
      EXPECT_NEAR(want.sum().item<double>(), 1, 1e-12);
      EXPECT_LT(population(*dpo, world, want.log().view({1, -1})).gradient_SV.abs().max().item<double>(),
                1e-10);
      const at::Tensor got = minimise(*dpo, world, world.reference_SV, 1e-11).softmax(1)[0];
      EXPECT_LT((got - want).abs().sum().item<double>() / 2, 1e-6);
    }
  }
  EXPECT_GE(links, 11);
}

// pi(y) proportional to reference(y) exp(r/beta), as a table of conditionals.
at::Tensor tilted_table(const World& world, double beta) {
  const at::Tensor log_ref = world.reference_SV.log_softmax(1);
  at::Tensor out = log_ref.clone();
  for (int64_t a = 0; a < 3; ++a) {
    for (int64_t b = 0; b < 3; ++b)
      out[1 + a][b] += world.completions[static_cast<size_t>(3 * a + b)].reward / beta;
    out[0][a] += out[1 + a].logsumexp(0);
  }
  return out;
}

TEST(PreferenceLaws, TdpoAtAlphaZeroHasDposLossGradientAndOptimum) {
  const double beta = 0.5;
  const World world = tree();
  const auto tdpo = objective("tdpo", "tdpo2", beta, 0.0), dpo = objective("dpo", "sigmoid", beta);
  const at::Tensor somewhere = wavy_table(4, 3).mul(-0.8).add(0.1);
  const Population a = population(*tdpo, world, somewhere), b = population(*dpo, world, somewhere);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_TRUE(a.gradient_SV.equal(b.gradient_SV));
  const at::Tensor optimum = tilted_table(world, beta);
  EXPECT_LT(population(*tdpo, world, optimum).gradient_SV.abs().max().item<double>(), 1e-12);
}

// beta (log pi/reference + KL(reference || pi)) of a token is its advantage q less than its mean under the
// reference, so pi = reference exp(q/beta)/Z with q the change of the expected reward under the reference.
at::Tensor advantage_table(const World& world, double beta) {
  const at::Tensor ref = world.reference_SV.softmax(1);
  at::Tensor out = world.reference_SV.log_softmax(1).clone();
  std::vector<double> expected;
  for (int64_t a = 0; a < 3; ++a) {
    double mean = 0;
    for (int64_t b = 0; b < 3; ++b)
      mean += ref[1 + a][b].item<double>() * world.completions[static_cast<size_t>(3 * a + b)].reward;
    for (int64_t b = 0; b < 3; ++b)
      out[1 + a][b] += (world.completions[static_cast<size_t>(3 * a + b)].reward - mean) / beta;
    out[0][a] += mean / beta;
  }
  return out;
}

TEST(PreferenceLaws, Tdpo1IsStationaryWhereItsTokensAdvantagesExplainThePreferences) {
  for (const double beta : {0.3, 1.0}) {
    const World world = tree();
    const auto tdpo1 = objective("tdpo", "tdpo1", beta);
    const at::Tensor there = advantage_table(world, beta);
    EXPECT_LT(population(*tdpo1, world, there).gradient_SV.abs().max().item<double>(), 1e-12) << beta;
    EXPECT_GT(population(*tdpo1, world, world.reference_SV).gradient_SV.abs().max().item<double>(), 1e-4);
  }
}

TEST(PreferenceLaws, Tdpo1DescendsToAStationaryPoint) {
  const World world = tree();
  const auto tdpo1 = objective("tdpo", "tdpo1", 0.5);
  const at::Tensor found = minimise(*tdpo1, world, world.reference_SV, 1e-9);
  EXPECT_LT(population(*tdpo1, world, found).gradient_SV.abs().max().item<double>(), 1e-8);
  EXPECT_LT((found.softmax(1) - advantage_table(world, 0.5).softmax(1)).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace fulcrum
