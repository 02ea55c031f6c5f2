#include "engine/pipeline/config/waiting_keys.h"

#include "engine/core/text.h"
#include "engine/pipeline/config/unused_keys.h"

namespace fulcrum {
namespace {

// Else the key is refused for that alone.
bool is_read(const std::string& key, const std::string& trainer) {
  for (const KeyReaders& entry : key_readers()) {
    if (entry.key == key) return contains(entry.trainers, trainer);
  }
  return true;
}

}  // namespace

const std::vector<WaitingKeys>& waiting_keys() {
  static const std::vector<WaitingKeys> all = {
      {{"val_files", "eval_num_generations", "eval_k", "eval_temperature", "metric_for_best_model"},
       "eval_steps",
       [](const JobConfig& c) { return c.eval.eval_steps > 0; }},
      {{"greater_is_better"},
       "metric_for_best_model",
       [](const JobConfig& c) { return !c.eval.metric_for_best_model.empty(); }},
      {{"max_num_gen_batches"},
       "dynamic_sampling",
       [](const JobConfig& c) { return c.dynamic_sampling != "off"; }},
      {{"soft_punish_factor"},
       "soft_punish_cache",
       [](const JobConfig& c) { return c.objective.surrogate.soft_punish_cache > 0; }},
      {{"kl_horizon"}, "kl_target", [](const JobConfig& c) { return c.objective.ppo.kl_target.has_value(); }},
  };
  return all;
}

void check_waiting_keys(const JobConfig& config, Complaints& out) {
  const Json set = write_config(config), defaults = write_config(JobConfig{});
  for (const auto& [keys, partner, has_partner] : waiting_keys()) {
    if (has_partner(config)) continue;
    std::vector<std::string> waiting;
    for (const std::string& key : keys) {
      if (set.at(key) != defaults.at(key) && is_read(key, config.objective.trainer))
        waiting.push_back("'" + key + "'");
    }
    const bool one = waiting.size() == 1;
    out.unless(waiting.empty(), join(waiting, ", ") + (one ? " does" : " do") + " nothing without '" +
                                    partner + "': set it, or leave " + (one ? "it" : "them") + " out");
  }
}

}  // namespace fulcrum
