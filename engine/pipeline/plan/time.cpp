#include "engine/pipeline/plan/time.h"

#include <algorithm>
#include <utility>

namespace fulcrum {
namespace {

double number(int64_t n) { return static_cast<double>(n); }

// Passes without gradient over all micro-batches, before the loss.
void add_constant_passes(const Workload& w, const Speeds& s, TimePlan& out) {
  const double layers = number(w.tokens()) * s.layers_forward;
  const double pass = layers + number(w.targets()) * s.head_forward;
  const auto add = [&](std::string stage, double seconds) {
    out.parts.push_back({std::move(stage), seconds, std::to_string(w.tokens()) + " tokens"});
  };
  // For an exact divergence only its hidden states are made here: its head is part of the policy's.
  if (w.reference_model) add("reference", w.needs.divergence ? layers : pass);
  if (w.needs.policy_logps || w.config.objective.num_mini_batches > 1) add("old log-probs", pass);
  if (w.separate_critic) add("old values", layers);
}

void add_training(const Workload& w, const Speeds& s, TimePlan& out) {
  const int64_t passes = w.config.objective.num_iterations, models = w.separate_critic ? 2 : 1;
  const double head = w.needs.scores ? 0 : number(w.targets()) * s.head_train;
  const double pass = number(models * w.tokens()) * s.layers_train + head;
  out.parts.push_back({"train", number(passes) * pass,
                       std::to_string(passes * w.tokens()) + " tokens in " +
                           std::to_string(passes * std::ssize(w.micro_batches)) + " micro-batches"});
  out.parts.push_back({"optimizer", number(w.updates * models) * s.update,
                       std::to_string(w.updates) + (w.updates == 1 ? " update" : " updates")});
}

}  // namespace

TimePlan plan_time(const Workload& w, const Speeds& s) {
  TimePlan out;
  const auto sum = [&] {
    double seconds = 0;
    for (const TimePart& part : out.parts) seconds += part.seconds;
    return seconds;
  };
  if (w.config.online()) {
    out.parts.push_back(
        {"generate",
         number(w.prompt_tokens) * s.prefill + number(w.completion_tokens) * (s.decode + s.sample),
         std::to_string(w.prompt_tokens) + " prompt tokens, " + std::to_string(w.completion_tokens) +
             " to draw"});
  }
  const double generating = sum();
  add_constant_passes(w, s, out);
  add_training(w, s, out);
  if (w.config.online())
    out.parts.push_back({"publish", s.publish, std::to_string(parameter_count(w.spec)) + " weights"});
  const double training = sum() - generating;
  out.step = w.config.max_staleness > 0 ? std::max(generating, training) : generating + training;
  return out;
}

}  // namespace fulcrum
