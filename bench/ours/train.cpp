#include "bench/ours/device.h"
#include "bench/ours/op.h"
#include "engine/data/pack.h"
#include "engine/learner/learner.h"
#include "engine/reference/reference.h"

namespace fulcrum::bench {
namespace {

// Row r's part p (0: the prompt), token j, as bench/peers/train_step.py has it.
std::vector<TokenId> tokens(int64_t r, int64_t p, int64_t n, int64_t vocabulary) {
  std::vector<TokenId> out;
  for (int64_t j = 0; j < n; ++j)
    out.push_back(static_cast<TokenId>((r * 1'000'003 + p * 10'007 + j * j * 31 + j * 7'919) % vocabulary));
  return out;
}

TrainBatch pack(const Json& rows, int64_t completions, int64_t vocabulary) {
  BatchBuilder builder;
  for (int64_t r = 0; r < rows.at("count").get<int64_t>(); ++r) {
    builder.begin_group(tokens(r, 0, rows.at("prompt").get<int64_t>(), vocabulary));
    for (int64_t p = 1; p <= completions; ++p) {
      BatchRow facts;
      facts.prompt_row = r;
      builder.add_row(tokens(r, p, rows.at("completion").get<int64_t>(), vocabulary), facts);
    }
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
  const TrainBatch batch =
      pack(options.at("rows"), objective_config.trainer == "dpo" ? 2 : 1, model.spec.vocab_size);
  model = {};
  watch_memory(device);
  return serve([&]() -> Result<Json> {
    TRY(metrics, learner->step(batch, {}));
    const auto loss = metrics.find("loss");
    if (loss == metrics.end()) return internal_error("the step has no loss");
    return Json{{"loss", loss->second.mean()}, {"peak_mib", peak_mib(device)}};
  });
}

}  // namespace fulcrum::bench
