#include "engine/cli/engine/measure.h"

#include <chrono>
#include <utility>

#include "engine/data/dataset.h"
#include "policy/decode/decode_dtype.h"
#include "policy/text/model_tokenizer.h"
#include "reward/make_rewards.h"
#include "reward/model/model_reward.h"
#include "reward/rpc/service_factory.h"
#include "rollout/generation_device.h"
#include "rollout/local_rollout.h"

namespace fulcrum::cli {

Result<EvalReport> measure(const MeasureOptions& o, std::stop_token stop) {
  TRY(model, load_model(o.model));
  TRY(tokenizer, load_tokenizer_of(model, o.tokenizer, {.splitter = o.splitter}));
  return measure(model, tokenizer, o, std::move(stop));
}

Result<EvalReport> measure(const Model& model, const std::shared_ptr<const Tokenizer>& tokenizer,
                           const MeasureOptions& o, std::stop_token stop) {
  TRY(data, Dataset::open({.files = o.files,
                           .format = RowFormat::kPrompt,
                           .max_prompt_length = model.spec.max_position_embeddings - 1,
                           .leave_out_bad = o.bad_rows != nullptr,
                           .shuffle = false},
                          *tokenizer, model.spec.vocab_size));
  if (o.bad_rows != nullptr) *o.bad_rows = data.bad_rows();
  std::vector<Prompt> prompts;
  for (int64_t i = 0; i < data.size(); ++i) prompts.push_back(data.row(i).prompt);
  TRY(judge, make_rewards(o.rewards, service_rewards(), make_model_reward));
  RewardPool pool(std::move(judge), {.threads = 1, .deadline = std::chrono::minutes(5)});
  TRY(device, generation_device(o.device));
  LocalRollout rollouts(tokenizer, {.max_batch = o.max_batch, .threads = o.threads, .device = device}, 1,
                        decode_dtype(o.dtype));
  auto weights = std::make_shared<WeightSet>();
  *weights = {.version = {}, .spec = model.spec, .tensors = model.tensors};
  TRY_DO(rollouts.publish(std::move(weights)));
  const EvalPlan plan{.seed = o.seed,
                      .step = 0,
                      .num_generations = o.num_generations,
                      .k = o.k,
                      .sampling = o.sampling,
                      .correct_reward = o.correct_reward,
                      .answer = answer_of(o.rewards)};
  return evaluate(rollouts, pool, prompts, {}, plan, stop);
}

Result<std::map<int64_t, double>> rewards_by_row(const EvalReport& report) {
  TRY(rewards, prompt_rewards(report));
  std::map<int64_t, double> out;
  for (size_t g = 0; g < rewards.size(); ++g) out[report.groups[g].prompt.row] = rewards[g];
  return out;
}

Result<std::vector<double>> prompt_rewards(const EvalReport& report) {
  std::vector<double> out;
  for (size_t g = 0; g < report.verdicts.size(); ++g) {
    Metric reward;
    for (const Verdict& v : report.verdicts[g]) {
      if (v.score) reward = {reward.sum + *v.score, reward.count + 1};
    }
    if (reward.count == 0) {
      return invalid_argument("prompt " + std::to_string(g + 1) + " has no completion with a reward: " +
                              (report.verdicts[g].empty() ? "" : report.verdicts[g][0].reason));
    }
    out.push_back(reward.mean());
  }
  return out;
}

}  // namespace fulcrum::cli
