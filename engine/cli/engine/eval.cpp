// `fulcrum eval`: pass@k and maj@k of a model on a data file.
#include <cstdio>

#include "engine/cli/engine/measure.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/table.h"
#include "engine/core/signals.h"

namespace fulcrum::cli {
namespace {

struct Options {
  MeasureOptions measure;
  std::string reward;
  std::vector<std::string> set;
  std::string format = "table";
};

Json estimate_json(const std::optional<Estimate>& e) {
  if (!e) return nullptr;
  return {{"mean", e->mean}, {"low", e->low}, {"high", e->high}, {"problems", e->problems}};
}

// The verdicts without a score: a fault of the data or of the judge, not of the model.
Result<int64_t> count_unscored(const EvalReport& report) {
  int64_t unscored = 0, scored = 0;
  std::string why;
  for (const std::vector<Verdict>& group : report.verdicts) {
    for (const Verdict& v : group) {
      if (!v.score && unscored == 0) why = std::string(verdict_name(v.kind)) + ": " + v.reason;
      ++(v.score ? scored : unscored);
    }
  }
  if (scored == 0 && unscored > 0)
    return invalid_argument("no completion could be judged; the first is " + why);
  return unscored;
}

Status evaluate_model(Options o, std::stop_token stop) {
  Json item = {{"name", o.reward}};
  for (const std::string& s : o.set) TRY_DO(apply_override(item, s));
  TRY(reward, read_config<RewardConfig>(item));
  o.measure.rewards = {reward};
  for (const int64_t k : o.measure.k) {
    if (k > o.measure.num_generations) {
      return invalid_argument("--k has " + std::to_string(k) + " but --num-generations is " +
                              std::to_string(o.measure.num_generations));
    }
  }
  TRY(result, measure(o.measure, stop));
  TRY(unscored, count_unscored(result));
  Table table{{"metric", "mean", "low", "high", "problems"}, {}};
  auto add = [&](const std::string& name, const std::optional<Estimate>& e) {
    Json row = {{"metric", name}};
    if (e) row.update(estimate_json(e));
    table.rows.push_back(std::move(row));
  };
  for (const AtK& a : result.at_k) {
    add("pass@" + std::to_string(a.k), a.pass);
    add("maj@" + std::to_string(a.k), a.majority);
  }
  table.rows.push_back({{"metric", "reward"}, {"mean", result.mean_reward}});
  table.rows.push_back({{"metric", "rewards/missing"}, {"mean", unscored}});
  table.rows.push_back({{"metric", "completions/mean_length"}, {"mean", result.mean_length}});
  std::fputs(render(table, o.format).c_str(), stdout);
  return ok_status();
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "eval", "pass@k (unbiased, 95 % intervals) and maj@k of a model",
      [](const Options& o) {
        const SignalStop signals;
        return report(evaluate_model(o, signals.token()));
      },
      [](CLI::App& v, Options& o) {
        MeasureOptions& m = o.measure;
        v.add_option("-m,--model", m.model, "model folder or llama2.c file")->required();
        v.add_option("--tokenizer", m.tokenizer, "tokenizer folder or file (default: the model's)");
        v.add_option("--splitter", m.splitter, "pre-tokenisation where the files do not say");
        v.add_option("--data", m.files, "JSONL files with prompt and solution")->required();
        v.add_option("--reward", o.reward, "name of the reward")->required();
        v.add_option("--set", o.set, "a key of the reward: extract=boxed");
        v.add_option("--correct-reward", m.correct_reward, "reward from which a completion is correct")
            ->capture_default_str();
        v.add_option("--num-generations", m.num_generations)
            ->check(CLI::Range(1, 4096))
            ->capture_default_str();
        v.add_option("--k", m.k, "values of k")->delimiter(',')->check(CLI::Range(1, 4096));
        v.add_option("--temperature", m.sampling.temperature)->check(not_negative())->capture_default_str();
        v.add_option("--top-k", m.sampling.top_k)->check(not_negative());
        v.add_option("--top-p", m.sampling.top_p)->check(CLI::Range(1e-6, 1.0));
        v.add_option("--min-p", m.sampling.min_p)->check(CLI::Range(0.0, 1.0));
        v.add_option("--max-new-tokens", m.sampling.max_completion_length)
            ->check(above_zero())
            ->capture_default_str();
        v.add_option("--seed", m.seed)->capture_default_str();
        add_output_option(v, o.format);
      });
}

}  // namespace fulcrum::cli
