#include "engine/objective/config/check_objective.h"

#include <cmath>

namespace fulcrum {
namespace {

Status check_trainer(const std::string& trainer) {
  const std::vector<std::string> names = trainer_names();
  if (contains(names, trainer)) return ok_status();
  const std::string nearest = nearest_name(trainer, names);
  return invalid_argument("unknown trainer " + in_quotes(trainer) +
                          (nearest.empty() ? "" : ", did you mean '" + nearest + "'?") +
                          " (known: " + join(names, ", ") + ")");
}

void check_loss_type(const ObjectiveConfig& c, Complaints& out) {
  const std::vector<std::string> known = loss_types(c.trainer);
  out.unless(c.loss_type.empty() || contains(known, c.loss_type),
             "trainer " + in_quotes(c.trainer) + " has no loss_type " + in_quotes(c.loss_type) +
                 " (it has: " + join(known, ", ") + ")");
}

void check_dpo(const ObjectiveConfig& c, Complaints& out) {
  if (check_divergence(c.divergence(), c.divergence_options()).ok())
    out.unless(check_dpo_link(c.divergence(), facts_of(c.divergence(), c.divergence_options())));
  out.unless(c.strength() > 0, "beta must be above 0 with trainer 'dpo': at 0 every pair has the same loss");
  out.unless(c.f_exponent_cap || c.f_exponent_guard == "linear",
             "f_exponent_guard does nothing without f_exponent_cap: leave it out");
  out.unless(c.label_smoothing == 0 || c.loss_type == "sigmoid" || c.loss_type == "robust",
             "label_smoothing does nothing with loss_type " + in_quotes(c.loss_type) +
                 ": leave it out, or use sigmoid or robust");
}

void check_tdpo(const ObjectiveConfig& c, Complaints& out) {
  out.unless(c.strength() > 0, "beta must be above 0 with trainer 'tdpo': at 0 every pair has the same loss");
  out.unless(c.loss_type != "tdpo1" || !c.tdpo_alpha,
             "tdpo_alpha does nothing with loss_type 'tdpo1', whose weight is 1: leave it out");
}

void check_dph_rl(const ObjectiveConfig& c, Complaints& out) {
  const bool by_micro_batch = c.dph_combine == "per_microbatch";
  const std::string& averaging = c.surrogate.loss_agg_mode;
  out.unless(!by_micro_batch || (c.loss_type == "dapo" && (averaging.empty() || averaging == "token_mean")),
             "dph_combine per_microbatch takes token means: loss_type must be dapo");
  out.unless(by_micro_batch || c.dph_accumulation == 1,
             "dph_accumulation acts with dph_combine per_microbatch only: leave it out");
  out.unless(c.dph_form != "clamped" || c.divergence() == "forward_kl",
             "dph_form clamped is a form of forward_kl, not of " + c.divergence());
  out.unless(c.dph_form != "mixture" || c.divergence() == "js_divergence",
             "dph_form mixture is a form of js_divergence, not of " + c.divergence());
}

void check_ppo(const ObjectiveConfig& c, Complaints& out) {
  const PpoConfig& ppo = c.ppo;
  out.unless(c.strength() > 0 || !ppo.kl_target,
             "kl_target moves beta, which is 0: set beta, or leave kl_target out");
  out.unless(c.strength() > 0 || ppo.kl_in != "loss", "kl_in does nothing with beta 0: leave it out");
  out.unless(
      ppo.kl_in != "loss" || c.kl_estimator != "k1",
      "kl_estimator 'k1' in the loss has an expected gradient of 0 and holds nothing: use k2, or kl_in "
      "'reward'");
}

bool is_dpo_link(const generators::GeneratorFacts& facts) {
  return facts.invertible && facts.slope_at_zero == -generators::kInfinity;
}

// Those that are links whatever their options.
std::vector<std::string> dpo_links() {
  std::vector<std::string> out;
  for (const std::string& name : divergence_names()) {
    if (name != "alpha_divergence" && is_dpo_link(facts_of(name, {}))) out.push_back(name);
  }
  return out;
}

}  // namespace

generators::GeneratorFacts facts_of(std::string_view name, const DivergenceOptions& options) {
  generators::GeneratorFacts facts;
  for_each_generator(options, [&](std::string_view known, const auto& g) {
    if (known == name) facts = g.facts();
  });
  return facts;
}

Status check_dpo_link(std::string_view divergence, const generators::GeneratorFacts& facts) {
  if (is_dpo_link(facts)) return ok_status();
  return invalid_argument(
      "f_divergence_type '" + std::string(divergence) + "' cannot be DPO's link: " +
      (facts.invertible
           ? "its slope is finite where the policy gives no probability, so the optimum may be 0 there"
           : "its slope has no inverse") +
      " and the partition function does not cancel (f-DPO, theorem 1); use " + join(dpo_links(), ", ") +
      ", or alpha_divergence with alpha at most 1");
}

bool uses_reference(const ObjectiveConfig& c) {
  if (c.trainer == "sft" || c.trainer == "reward") return false;
  return c.trainer == "dpo" || c.trainer == "tdpo" || is_dpg(c.trainer) || c.strength() > 0;
}

Status check_objective(const ObjectiveConfig& config) {
  TRY_DO(check_trainer(config.trainer));
  ObjectiveConfig c = config;
  if (c.loss_type.empty()) c.loss_type = loss_types(c.trainer).front();
  Complaints out;
  check_loss_type(c, out);
  out.unless(check_divergence(c.divergence(), c.divergence_options()));
  const bool dpg = is_dpg(c.trainer);
  if (trainer_rows(c.trainer) == RowFormat::kPrompt && !dpg) check_surrogate(c, out);
  if (c.trainer == "dpo") check_dpo(c, out);
  if (c.trainer == "tdpo") check_tdpo(c, out);
  if (c.trainer == "dph_rl") check_dph_rl(c, out);
  if (c.trainer == "ppo") check_ppo(c, out);
  if (dpg) check_f_dpg(c, out);
  return out.status();
}

}  // namespace fulcrum
