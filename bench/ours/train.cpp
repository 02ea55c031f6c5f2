#include <span>

#include "bench/ours/device.h"
#include "bench/ours/op.h"
#include "engine/data/pack.h"
#include "engine/learner/learner.h"
#include "engine/reference/reference.h"

namespace fulcrum::bench {
namespace {

TrainBatch pack(const std::vector<std::vector<std::vector<TokenId>>>& rows) {
  BatchBuilder builder;
  int64_t index = 0;
  for (const auto& row : rows) {
    builder.begin_group(row.front());
    for (const auto& completion : std::span(row).subspan(1)) {
      BatchRow facts;
      facts.prompt_row = index;
      builder.add_row(completion, facts);
    }
    ++index;
  }
  return builder.take();
}

}  // namespace

Status train(const Json& options, const Serve& serve) {
  TRY(model, load_model(options.at("model").get<std::string>()));
  TRY(device, device_of(options));
  LearnerOptions how;
  how.config.device = options.value("device", "cpu");
  how.config.dtype = options.at("dtype") == "bf16" ? "bfloat16" : "float32";
  how.config.threads = options.at("threads").get<int64_t>();
  how.config.learning_rate = options.at("learning_rate").get<double>();
  how.config.max_tokens_per_micro_batch = options.at("max_tokens").get<int64_t>();
  how.config.logits_chunk = options.at("chunk").get<int64_t>();
  how.config.gradient_checkpointing = options.value("recompute", false);
  how.max_steps = 1'000'000;
  ObjectiveConfig objective_config;
  objective_config.trainer = options.at("trainer").get<std::string>();
  objective_config.loss_type = loss_types(objective_config.trainer).front();
  TRY(objective, make_objective(objective_config));
  std::unique_ptr<Reference> reference;
  if (objective->needs().reference_logps) {
    TRY(policy_options, fulcrum::policy_options(how.config));
    TRY(made, make_reference({}, model, policy_options));
    reference = std::move(made);
  }
  TRY(learner, Learner::create(model, how, std::move(objective), std::move(reference)));
  model = {};
  const TrainBatch batch = pack(options.at("rows").get<std::vector<std::vector<std::vector<TokenId>>>>());
  watch_memory(device);
  return serve([&]() -> Result<Json> {
    TRY(metrics, learner->step(batch, {}));
    const auto loss = metrics.find("loss");
    if (loss == metrics.end()) return internal_error("the step has no loss");
    return Json{{"loss", loss->second.mean()}, {"peak_mib", peak_mib(device)}};
  });
}

}  // namespace fulcrum::bench
