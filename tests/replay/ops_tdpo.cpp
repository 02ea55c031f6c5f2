// tdpo.json through the product's code: the chunked exact divergence of policy/nn over heads that give the
// file's logits, and the tdpo objective on it.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>

#include "engine/objective/masked.h"
#include "engine/objective/pairs.h"
#include "policy/nn/token_divergences.h"
#include "tests/replay/replay.h"
#include "tests/support/loss_fixture.h"

namespace fulcrum::replay {
namespace {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;
using Matrix = std::vector<std::vector<double>>;

constexpr int64_t kChunk = 2;  // shorter than any completion: the chunks are part of what is replayed

at::ScalarType dtype_of(Precision precision) {
  return precision == Precision::kFloat64 ? at::kDouble : at::kFloat;
}

std::unique_ptr<Objective> objective_of(const Json& c) {
  ObjectiveConfig config;
  config.trainer = "tdpo";
  const auto variant = c.at("variant").get<std::string>();
  if (variant != "dpo" && variant != "tdpo1" && variant != "tdpo2")
    throw std::invalid_argument("unknown variant " + variant);
  config.loss_type = variant == "tdpo1" ? "tdpo1" : "tdpo2";
  if (variant == "dpo") config.tdpo_alpha = 0;
  if (variant == "tdpo2") config.tdpo_alpha = number(c.at("alpha"));
  config.beta = number(c.at("beta"));
  return make_objective(config).value();
}

// The targets of one completion; `place`: where the file has them among `length` positions.
struct Side {
  Matrix policy, reference;
  std::vector<int64_t> labels, place;
  std::vector<int> mask;
  size_t length = 0;
};

Side side_of(const Json& j) {
  Side out{.policy = matrix(j.at("policy_logits")),
           .reference = matrix(j.at("ref_logits")),
           .labels = j.at("labels").get<std::vector<int64_t>>(),
           .place = {},
           .mask = j.at("mask").get<std::vector<int>>()};
  out.length = out.labels.size();
  for (size_t t = 0; t < out.length; ++t) out.place.push_back(static_cast<int64_t>(t));
  for (int64_t& label : out.labels) label = std::max<int64_t>(label, 0);  // of masked positions
  return out;
}

// Logits i predict label i + 1. Only labelled positions are targets, as in a packed batch.
Side raw_side_of(const Json& j, int64_t ignore) {
  const Matrix policy = matrix(j.at("policy_logits")), reference = matrix(j.at("ref_logits"));
  const auto labels = j.at("labels").get<std::vector<int64_t>>();
  Side out{.policy = {}, .reference = {}, .labels = {}, .place = {}, .mask = {}, .length = labels.size() - 1};
  for (size_t i = 0; i + 1 < labels.size(); ++i) {
    if (labels[i + 1] == ignore) continue;
    out.policy.push_back(policy[i]);
    out.reference.push_back(reference[i]);
    out.labels.push_back(labels[i + 1]);
    out.place.push_back(static_cast<int64_t>(i));
    out.mask.push_back(1);
  }
  return out;
}

std::vector<bool> padding(const std::vector<double>& z) {
  std::vector<bool> out;
  for (const double x : z) out.push_back(x == -std::numeric_limits<double>::infinity());
  return out;
}

// A head with one hidden state a logit, and one that is always 1, through which rows of the vocabulary that
// are padding say -inf.
Head head_of(std::span<const std::vector<double>> rows, at::ScalarType dtype) {
  const auto n = static_cast<int64_t>(rows.size()), v = static_cast<int64_t>(rows[0].size());
  at::Tensor hidden = at::ones({n, v + 1}, at::kDouble), weight = at::eye(v, v + 1, at::kDouble);
  const std::vector<bool> padded = padding(rows[0]);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < v; ++k) {
      const bool pad = padded[static_cast<size_t>(k)];
      hidden[i][k] = pad ? 0.0 : rows[static_cast<size_t>(i)][static_cast<size_t>(k)];
    }
  }
  for (int64_t k = 0; k < v; ++k) {
    if (!padded[static_cast<size_t>(k)]) continue;
    weight[k][k] = 0.0;
    weight[k][v] = -std::numeric_limits<double>::infinity();
  }
  return {hidden.to(dtype), weight.to(dtype)};
}

// What the model's two heads say of the targets of some completions, one after the other.
struct Outputs {
  std::vector<at::Tensor> hidden;  // leaves: the policy's logits (and the state that is always 1)
  TokenDivergences tokens;
};

// Neighbours with the same padding go through one head.
Outputs run_heads(const std::vector<const Side*>& sides, at::ScalarType dtype) {
  Outputs out;
  std::vector<at::Tensor> logps, divergence, reference_logps;
  const auto kl = make_divergence("forward_kl").value();
  for (const Side* side : sides) {
    for (size_t begin = 0, end = 0; begin < side->policy.size(); begin = end) {
      while (end < side->policy.size() && padding(side->policy[end]) == padding(side->policy[begin]) &&
             padding(side->reference[end]) == padding(side->reference[begin])) {
        ++end;
      }
      Head policy = head_of(std::span(side->policy).subspan(begin, end - begin), dtype);
      policy.hidden_ND.requires_grad_(true);
      const Head reference = head_of(std::span(side->reference).subspan(begin, end - begin), dtype);
      const at::Tensor ids = at::tensor(side->labels, at::kLong)
                                 .narrow(0, static_cast<int64_t>(begin), static_cast<int64_t>(end - begin));
      const TokenDivergences got = token_divergences(policy, reference, ids, kl, 1, kChunk);
      logps.push_back(got.logps_N);
      divergence.push_back(got.divergence_N);
      reference_logps.push_back(got.reference_logps_N);
      out.hidden.push_back(policy.hidden_ND);
    }
  }
  out.tokens = {at::cat(logps), at::cat(divergence), at::cat(reference_logps)};
  return out;
}

TrainBatch batch_of(const std::vector<const Side*>& sides) {
  TrainBatch batch;
  for (size_t r = 0; r < sides.size(); ++r) {
    BatchRow row;
    row.group = row.prompt_row = static_cast<int64_t>(r / 2);
    row.target_begin = batch.num_targets();
    for (size_t t = 0; t < sides[r]->labels.size(); ++t) {
      batch.target_ids.push_back(static_cast<TokenId>(sides[r]->labels[t]));
      batch.target_row.push_back(static_cast<int64_t>(r));
      batch.target_mask.push_back(static_cast<uint8_t>(sides[r]->mask[t]));
    }
    row.target_end = batch.num_targets();
    batch.rows.push_back(row);
  }
  return batch;
}

// One pass of heads and objective over whole pairs.
struct Pass {
  Outputs outputs;
  TrainBatch batch;
  LossOutput loss;
  std::vector<double> logp_margin;  // M of each row
  at::Tensor logits_gradient;       // [N, V]
};

Pass run_pass(const Json& c, const std::vector<const Side*>& sides, Precision precision) {
  const auto objective = objective_of(c);
  Pass out{.outputs = run_heads(sides, dtype_of(precision)),
           .batch = batch_of(sides),
           .loss = {},
           .logp_margin = {},
           .logits_gradient = {}};
  ObjectiveState state;
  Metrics prepared;
  if (const Status s = objective->prepare(out.batch, state, prepared); !s.ok())
    throw std::runtime_error(s.message());
  LossInput input(out.batch);
  input.logps_N = out.outputs.tokens.logps_N;
  input.divergence_N = out.outputs.tokens.divergence_N;
  input.reference_logps_N = out.outputs.tokens.reference_logps_N;
  input.row_N = at::tensor(out.batch.target_row, at::kLong);
  input.mask_N = at::tensor(out.batch.target_mask, at::kByte).to(at::kBool);
  auto loss = objective->loss(input);
  if (!loss.ok()) throw std::runtime_error(loss.status().message());
  out.loss = std::move(loss).value();
  out.loss.loss.backward();
  const at::Tensor ratio = find_pairs(input).value().ratio_R.detach();
  out.logp_margin.assign(ratio.const_data_ptr<double>(), ratio.const_data_ptr<double>() + ratio.numel());
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& hidden : out.outputs.hidden)
    gradients.push_back(hidden.grad().narrow(1, 0, hidden.size(1) - 1));
  out.logits_gradient = at::cat(gradients).to(at::kDouble);
  return out;
}

struct Tolerances {
  Tolerance value, gradient;
};

Tolerances tolerances(Precision precision, const Json& pair) {
  if (precision == Precision::kFloat64) return {};
  const double far = std::max(std::abs(number(pair.at("chosen").at("logp_margin"))),
                              std::abs(number(pair.at("rejected").at("logp_margin"))));
  const double relative = 2e-5 * std::max(1.0, far / 10);
  return {{relative, 2e-6}, {relative, 1e-6}};
}

// The file's per-position lists of one completion out of the targets' values; 0 where there is no target.
std::vector<double> placed(const at::Tensor& x_N, const BatchRow& row, const Side& side) {
  const at::Tensor x = x_N.detach().to(at::kDouble);
  std::vector<double> out(side.length, 0.0);
  for (size_t t = 0; t < side.place.size(); ++t) {
    if (side.mask[t] == 0) continue;
    out[static_cast<size_t>(side.place[t])] = x[row.target_begin + static_cast<int64_t>(t)].item<double>();
  }
  return out;
}

Matrix placed_gradient(const Pass& pass, const BatchRow& row, const Side& side, size_t rows) {
  Matrix out(rows, std::vector<double>(static_cast<size_t>(pass.logits_gradient.size(1)), 0.0));
  for (size_t t = 0; t < side.place.size(); ++t) {
    const at::Tensor g = pass.logits_gradient[row.target_begin + static_cast<int64_t>(t)].contiguous();
    out[static_cast<size_t>(side.place[t])].assign(g.const_data_ptr<double>(),
                                                   g.const_data_ptr<double>() + g.numel());
  }
  return out;
}

// One pair by itself.
void check_pair(const Json& c, const Json& e, const std::array<const Side*, 2>& sides, Precision precision,
                Tally& tally) {
  const Pass pass = run_pass(c, {sides[0], sides[1]}, precision);
  const Tolerance t = tolerances(precision, e).value;
  const double beta = number(c.at("beta")), loss = pass.loss.loss.item<double>();
  const auto metric = [&](const std::string& name) { return pass.loss.metrics.at(name).mean(); };
  tally.near(loss, e.at("loss"), t, "loss");
  // softplus(-beta m) = loss.
  if (loss > 0) tally.near(-(loss + std::log(-std::expm1(-loss))) / beta, e.at("argument"), t, "argument");
  tally.near(metric("rewards/chosen"), e.at("chosen_reward_official"), t, "chosen reward");
  tally.near(metric("rewards/rejected"), e.at("rejected_reward_official"), t, "rejected reward");
  tally.near(metric("rewards/margins"), e.at("reward_margin_official"), t, "reward margin");
  tally.near(metric("rewards/dpo_margins"), e.at("dpo_margin"), t, "dpo_margin");
  tally.near(metric("tdpo/seq_kl_margin"), e.at("kl_margin_abs"), t, "kl_margin_abs");
  for (size_t r = 0; r < 2; ++r) {
    const std::string name = r == 0 ? "chosen" : "rejected";
    const Json& want = e.at(name);
    const BatchRow& row = pass.batch.rows[r];
    const auto tokens = [&](const at::Tensor& x_N, const char* field) {
      const std::vector<double> got = placed(x_N, row, *sides[r]);
      tally.near(got, want.at(field), t, name + " " + field);
      double sum = 0;
      for (const double x : got) sum += x;
      return sum;
    };
    tokens(pass.outputs.tokens.logps_N, "token_policy_logp");
    tokens(pass.outputs.tokens.divergence_N, "token_kl");
    tally.near(tokens(pass.outputs.tokens.reference_logps_N, "token_ref_logp"), want.at("ref_logp"), t,
               name + " ref_logp");
    tally.near(pass.logp_margin[r], want.at("logp_margin"), t, name + " logp_margin");
    tally.near(metric("tdpo/seq_kl_" + name), want.at("seq_kl"), t, name + " seq_kl");
    tally.near(metric("logps/" + name), want.at("policy_logp"), t, name + " policy_logp");
  }
}

// All pairs in one batch: the mean loss and its gradient at the logits.
void check_batch(const Json& c, const std::vector<Side>& sides, const std::string& gradient_field,
                 Precision precision, Tally& tally) {
  std::vector<const Side*> all;
  for (const Side& side : sides) all.push_back(&side);
  const Pass pass = run_pass(c, all, precision);
  const Json& e = c.at("expected");
  for (size_t r = 0; r < sides.size(); ++r) {
    const Json& pair = e.at("per_pair")[r / 2];
    const Tolerances t = tolerances(precision, pair);
    if (r == 0) tally.near(pass.loss.loss.item<double>(), e.at("mean_loss"), t.value, "mean_loss");
    const std::string name = r % 2 == 0 ? "chosen" : "rejected";
    const Json& want = pair.at(name).at(gradient_field);
    tally.near(placed_gradient(pass, pass.batch.rows[r], sides[r], want.size()), want, t.gradient,
               name + " gradient");
  }
}

void tensor_case(const Json& c, Precision precision, Tally& tally) {
  tally.ran();
  std::vector<Side> sides;
  for (const Json& pair : c.at("pairs")) {
    sides.push_back(side_of(pair.at("chosen")));
    sides.push_back(side_of(pair.at("rejected")));
  }
  for (size_t i = 0; i < sides.size() / 2; ++i) {
    check_pair(c, c.at("expected").at("per_pair")[i], {&sides[2 * i], &sides[2 * i + 1]}, precision, tally);
  }
  check_batch(c, sides, "grad_mean_loss_wrt_policy_logits", precision, tally);
}

void raw_shift_case(const Json& c, Precision precision, Tally& tally) {
  tally.ran();
  const auto ignore = c.at("ignore_index").get<int64_t>();
  for (const std::string suffix : {"", "_with_garbage"}) {
    const std::vector<Side> sides = {raw_side_of(c.at("chosen" + suffix), ignore),
                                     raw_side_of(c.at("rejected" + suffix), ignore)};
    check_pair(c, c.at("expected").at("per_pair")[0], {&sides[0], &sides[1]}, precision, tally);
    check_batch(c, sides, "grad_mean_loss_wrt_raw_policy_logits", precision, tally);
  }
}

// Sums given as they are: one token a completion that carries all of M and K. A pair's numbers are doubles in
// the product too.
void scalar_example(const Json& c, Precision precision, Tally& tally) {
  if (precision == Precision::kFloat32) return tally.skipped();
  tally.ran();
  std::vector<FixtureRow> rows;
  for (const std::string side : {"chosen", "rejected"}) {
    rows.push_back({.logps = {number(c.at("logp_margin_" + side))},
                    .reference_logps = {0},
                    .divergence = {number(c.at("seq_kl_" + side))}});
  }
  const LossRun run = LossFixture(rows).run(*objective_of(c));
  if (!run.status.ok()) return tally.fail(run.status.message());
  const Json& e = c.at("expected");
  tally.near(run.loss, e.at("loss"), {}, "loss");
  if (run.loss > 0) {
    tally.near(-(run.loss + std::log(-std::expm1(-run.loss))) / number(c.at("beta")), e.at("argument"), {},
               "argument");
  }
  for (size_t r = 0; r < 2; ++r) {
    const std::string side = r == 0 ? "chosen" : "rejected";
    tally.near(run.gradient[r][0], e.at("grad_logp_margin_" + side), {}, "grad_logp_margin_" + side);
    tally.near(run.divergence_gradient[r][0], e.at("grad_seq_kl_" + side), {}, "grad_seq_kl_" + side);
  }
}

}  // namespace

void add_tdpo_ops(Ops& ops) {
  ops.add("tdpo.cases", tensor_case);
  ops.add("tdpo.raw_shift_case", raw_shift_case);
  ops.add("tdpo.scalar_examples", scalar_example);
}

}  // namespace fulcrum::replay
