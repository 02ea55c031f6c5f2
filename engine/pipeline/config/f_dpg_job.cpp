#include "engine/pipeline/config/f_dpg_job.h"

#include "engine/core/text.h"
#include "reward/make_rewards.h"

namespace fulcrum {
namespace {

// Theorem 1 is about samples of the policy itself: log q must be the log-prob of what really drew them.
bool filtered(const SamplingConfig& s) {
  return s.temperature != 1 || s.top_p != 1 || s.top_k != 0 || s.min_p != 0;
}

}  // namespace

std::vector<std::string> f_dpg_complaints(const JobConfig& config) {
  std::vector<std::string> out;
  const ObjectiveConfig& o = config.objective;
  if (filtered(config.sampling)) {
    out.push_back(
        "trainer '" + o.trainer +
        "' needs samples of the policy itself: 'temperature' 1, 'top_p' 1, 'top_k' 0 and 'min_p' 0");
  }
  if (config.dynamic_sampling != "off")
    out.push_back("'dynamic_sampling' would choose samples by their reward, and Z with them: leave it off");
  const std::vector<std::string> names = reward_names(config.reward_funcs);
  for (const ConstraintConfig& c : o.f_dpg.constraints) {
    if (contains(names, c.feature)) continue;
    out.push_back("no reward of 'reward_funcs' is called " + in_quotes(c.feature) +
                  ", as a constraint asks (there is " + join(names, ", ") + ")");
  }
  if (moves(config.reference))
    out.push_back(
        "'sync_ref_model' or 'bema' would move the target while the policy is brought to it: leave it out");
  if (!o.f_dpg.distributional().empty() &&
      !(config.reference.ref_model.empty() && config.reference.ref_soup.empty())) {
    out.push_back(
        "a constraint's lambda is fitted to samples of the initial policy, so that must be the reference: "
        "leave 'ref_model' and 'ref_soup' out");
  }
  return out;
}

}  // namespace fulcrum
