// The operations of policy_gradient.json that PPO adds: advantages, whitening, the critic's loss, the KL in
// the reward and its controller.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "engine/divergence/kl_estimators.h"
#include "engine/objective/aggregate.h"
#include "engine/objective/gae.h"
#include "engine/objective/kl_penalty.h"
#include "engine/objective/masked.h"
#include "engine/objective/value_loss.h"
#include "engine/objective/whiten.h"
#include "tests/replay/replay.h"

namespace fulcrum::replay {
namespace {

constexpr Tolerance kFloat32{.relative = 3e-5, .absolute = 3e-6};

using Matrix = std::vector<std::vector<double>>;

std::vector<uint8_t> flags(const Json& row) { return row.get<std::vector<uint8_t>>(); }

std::vector<uint8_t> all_flags(const Json& rows) {
  std::vector<uint8_t> out;
  for (const Json& row : rows) {
    for (const uint8_t m : flags(row)) out.push_back(m);
  }
  return out;
}

std::vector<double> flat(const Matrix& rows) {
  std::vector<double> out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

// `values` in rows as long as those of `like`.
Matrix in_rows(const std::vector<double>& values, const Json& like) {
  Matrix out;
  auto at = values.begin();
  for (const Json& row : like) {
    const auto end = at + static_cast<std::ptrdiff_t>(row.size());
    out.emplace_back(at, end);
    at = end;
  }
  return out;
}

std::vector<double> doubles(const at::Tensor& t) {
  const at::Tensor values = t.detach().to(at::kDouble).contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

// Advantages, whitening and token rewards are formed on the host in double: there is no float32 of them.
Op in_double(void (*run)(const Json& in, const Json& want, Tally& tally)) {
  return [run](const Json& item, Precision precision, Tally& tally) {
    if (precision == Precision::kFloat32) return tally.skipped();
    tally.ran();
    run(item["inputs"], item["expected"], tally);
  };
}

void replay_gae(const Json& in, const Json& want, Tally& tally) {
  const GaeOptions options{.gamma = number(in["gamma"]),
                           .lam = number(in["lam"]),
                           .mode = in["mode"] == "zero_masked" ? GaeMode::kZeroMasked : GaeMode::kMaskSkip};
  Matrix advantages, returns;
  for (size_t r = 0; r < in["mask"].size(); ++r) {
    AdvantageEstimate row =
        gae(numbers(in["token_rewards"][r]), numbers(in["values"][r]), flags(in["mask"][r]), options);
    advantages.push_back(std::move(row.advantages));
    returns.push_back(std::move(row.returns));
  }
  tally.near(advantages, want["advantage"], {}, "advantage");
  tally.near(returns, want["returns"], {}, "returns");
}

WhitenKind whiten_kind(const std::string& preset) {
  if (preset == "trl") return WhitenKind::kTrl;
  if (preset == "verl") return WhitenKind::kVerl;
  if (preset == "openrlhf") return WhitenKind::kOpenRlhf;
  if (preset == "areal") return WhitenKind::kAreal;
  throw std::invalid_argument("no whitening preset is called " + preset);
}

void replay_whiten(const Json& in, const Json& want, Tally& tally) {
  const std::vector<double> got = whiten(flat(matrix(in["values"])), all_flags(in["mask"]),
                                         whiten_kind(in["preset"]), flag_or(in, "shift_mean", true));
  tally.near(in_rows(got, in["mask"]), want["whitened"], {}, "whitened");
}

void replay_kl_reward(const Json& in, const Json& want, Tally& tally) {
  const KlEstimate estimate =
      KlEstimate::create(parse_kl_estimator(std::string(in["estimator"])).value()).value();
  const KlRewardOptions options{.beta = number(in["beta"]),
                                .score_clip = number_if_given(in, "score_clip"),
                                .missing_eos_penalty = number_or(in, "missing_eos_penalty", 0)};
  Matrix rewards;
  std::vector<int64_t> indices;
  for (size_t r = 0; r < in["mask"].size(); ++r) {
    const at::Tensor log_ratio =
        at::tensor(numbers(in["logp"][r]), at::kDouble) - at::tensor(numbers(in["logp_ref"][r]), at::kDouble);
    TokenRewards row = kl_reward(doubles(estimate(log_ratio)), flags(in["mask"][r]),
                                 {number(in["score"][r]), in["truncated"][r].get<bool>()}, options);
    rewards.push_back(std::move(row.rewards));
    indices.push_back(row.score_index);
  }
  tally.near(rewards, want["token_rewards"], {}, "token_rewards");
  tally.equal(indices, want["score_index"], "score_index");
}

void replay_kl_controller(const Json& in, const Json& want, Tally& tally) {
  const KlController controller{.target = number(in["target"]), .horizon = number(in["horizon"])};
  double beta = number(in["init"]);
  std::vector<double> betas;
  for (size_t i = 0; i < in["kl"].size(); ++i) {
    beta = controller.next(beta, number(in["kl"][i]), number(in["n_steps"][i]));
    betas.push_back(beta);
  }
  tally.near(betas, want["beta"], {}, "beta");
}

// A step of one slice whose targets have this mask.
TrainBatch batch_of(const Json& mask) {
  TrainBatch out;
  for (const Json& row : mask) {
    const auto begin = static_cast<int64_t>(out.target_mask.size());
    for (const uint8_t m : flags(row)) {
      out.target_mask.push_back(m);
      out.target_row.push_back(out.num_rows());
    }
    out.rows.push_back({.target_begin = begin, .target_end = static_cast<int64_t>(out.target_mask.size())});
  }
  return out;
}

void replay_value_loss(const Json& item, Precision precision, Tally& tally) {
  tally.ran();
  const Json &in = item["inputs"], &want = item["expected"];
  const bool exact = precision == Precision::kFloat64;
  const auto input_of = [&](const char* name) {
    return at::tensor(flat(matrix(in[name])), at::kDouble).to(exact ? at::kDouble : at::kFloat);
  };
  const TrainBatch batch = batch_of(in["mask"]);
  LossInput input(batch);
  input.row_N = at::tensor(batch.target_row, at::kLong);
  input.mask_N = at::tensor(batch.target_mask, at::kByte).to(at::kBool);
  const at::Tensor values_N = input_of("values").set_requires_grad(true);
  const auto masked = [&](const at::Tensor& x_N) { return keep(x_N, input.mask_N); };
  const std::optional<double> clip = number_if_given(in, "clip");
  const TokenValueLoss token_loss =
      value_loss(masked(values_N), masked(input_of("old_values")), masked(input_of("returns")), clip);
  const at::Tensor loss = aggregate(Aggregation::kDapo, input, token_loss.loss_N, input.mask_N, false,
                                    step_denominator(Aggregation::kDapo, batch, false, 1));
  const Tolerance tolerance = exact ? Tolerance{} : kFloat32;
  tally.near(loss.item<double>(), want["loss"], tolerance, "loss");
  const at::Tensor gradient = torch::autograd::grad({loss}, {values_N})[0];
  tally.near(in_rows(doubles(gradient), in["mask"]), want["grad_values"], tolerance, "grad_values");
}

}  // namespace

void add_ppo_ops(Ops& ops) {
  ops.add("gae", in_double(replay_gae));
  ops.add("whiten", in_double(replay_whiten));
  ops.add("value_loss", replay_value_loss);
  ops.add("kl_reward", in_double(replay_kl_reward));
  ops.add("kl_controller", in_double(replay_kl_controller));
}

}  // namespace fulcrum::replay
