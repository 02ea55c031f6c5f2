// `fulcrum score`: judges completions by one reward.
#include "engine/cli/rows.h"
#include "engine/cli/verbs.h"
#include "reward/make_rewards.h"
#include "reward/rpc/service_factory.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string reward;
  std::vector<std::string> set;
  double timeout_s = 30;
  JudgeFactory model;  // of the reward `model`; empty in the program without LibTorch
  RowFiles files;
};

// "NAME", with more keys of the reward by --set key=value.
Result<std::unique_ptr<RewardFunction>> judge_of(const Options& o) {
  Json item = {{"name", o.reward}};
  for (const std::string& s : o.set) TRY_DO(apply_override(item, s));
  TRY(config, read_config<RewardConfig>(item));
  return make_rewards({config}, service_rewards(), o.model);
}

// What `generate` says of a completion beside its text: how many tokens it has and whether it was cut.
Status read_length(const Options& o, const Json& row, RewardRequest& request) {
  const auto ids = row.find("completion_ids");
  if (ids != row.end() && ids->is_array()) {
    request.num_tokens = static_cast<int64_t>(ids->size());
  } else if (o.reward == "length") {
    return invalid_argument("reward 'length' counts tokens: the row has no list 'completion_ids'");
  }
  const auto finish = row.find("finish_reason");
  request.truncated = finish != row.end() && *finish == finish_reason_name(FinishReason::kLength);
  return ok_status();
}

Status add_verdict(const RewardFunction& judge, const Options& o, Row& row) {
  TRY(completion, get_text(row.fields, "completion"));
  const Result<std::string_view> prompt =
      row.fields.contains("prompt") ? get_text(row.fields, "prompt") : std::string_view();
  TRY_DO(prompt);
  RewardRequest request{.prompt = *prompt, .completion = completion, .columns = &row.fields};
  TRY_DO(read_length(o, row.fields, request));
  const auto limit = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(o.timeout_s));
  const Verdict v = judge.score(std::span(&request, 1), Deadline::in(limit), {}).front();
  row.added["score"] = v.score ? Json(*v.score) : Json(nullptr);
  row.added["verdict"] = verdict_name(v.kind);
  row.added["reason"] = v.reason;
  if (v.kind == VerdictKind::kBadReference) return invalid_argument(v.reason);
  // Not judged at all: the judge failed or had no time.
  if (v.kind == VerdictKind::kFailed || v.kind == VerdictKind::kTimeout)
    return unavailable("the judge gave no score (" + std::string(verdict_name(v.kind)) + "): " + v.reason);
  return ok_status();
}

int run(const Options& o) {
  const auto judge = judge_of(o);
  if (!judge.ok()) return report(judge.status());
  return for_each_row(o.files, [&](Row& row) { return add_verdict(**judge, o, row); });
}

}  // namespace

void add_score(CLI::App& app, Action& action, const JudgeFactory& model) {
  add_verb<Options>(
      app, action, "score", "judge completions: rows with `prompt`, `completion`, `solution`", run,
      [&model](CLI::App& v, Options& o) {
        o.model = model;
        v.add_option("--reward", o.reward, "name of the reward, as in `reward_funcs`")->required();
        v.add_option("--set", o.set, "a key of the reward: extract=boxed");
        v.add_option("--timeout", o.timeout_s, "seconds a row may take")
            ->check(above_zero())
            ->capture_default_str();
        add_row_options(v, o.files);
      });
}

}  // namespace fulcrum::cli
