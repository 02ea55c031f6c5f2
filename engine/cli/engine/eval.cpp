// `fulcrum eval`: pass@k and maj@k of a model on a data file and its win rate against another model; of a
// reward model, its accuracy on preferences.
#include <cstdio>

#include "engine/cli/decode_options.h"
#include "engine/cli/engine/judge_pairs.h"
#include "engine/cli/engine/measure.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/table.h"
#include "engine/cli/threads.h"
#include "engine/core/signals.h"
#include "reward/pass_at_k.h"
#include "reward/win_rate.h"

namespace fulcrum::cli {
namespace {

struct Options {
  MeasureOptions measure;
  std::string reward, against;
  std::vector<std::string> set;
  bool k_given = false;  // else those of the default that --num-generations allows
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

Result<BadRows> evaluate_reward_model(const Model& model, const Options& o, std::stop_token stop) {
  if (!o.reward.empty())
    return invalid_argument("--reward does nothing with a reward model, which is judged by the data's pairs");
  const MeasureOptions& m = o.measure;
  TRY(found, judge_pairs(model, {m.tokenizer, m.splitter, m.files}, stop));
  Table table{{"metric", "mean", "std_error", "pairs"}, {}};
  table.rows.push_back({{"metric", "accuracy"},
                        {"mean", found.accuracy},
                        {"std_error", found.std_error},
                        {"pairs", found.pairs}});
  table.rows.push_back({{"metric", "margin"}, {"mean", found.margin}});
  table.rows.push_back({{"metric", "rewards/chosen"}, {"mean", found.mean_chosen}});
  table.rows.push_back({{"metric", "rewards/rejected"}, {"mean", found.mean_rejected}});
  std::fputs(render(table, o.format).c_str(), stdout);
  return found.bad_rows;
}

// Which of two models has the higher mean reward, prompt by prompt; both drew with the same seed. A prompt
// that only one of them could use (the other's tokenizer or length refuses it) is no match.
Status add_comparison(Table& table, const EvalReport& mine, const EvalReport& theirs) {
  TRY(a, rewards_by_row(mine));
  TRY(b, rewards_by_row(theirs));
  WinCount count;
  for (const auto& [row, reward] : a) {
    const auto other = b.find(row);
    if (other == b.end()) continue;
    ++(reward > other->second ? count.wins : reward < other->second ? count.losses : count.ties);
  }
  table.rows.push_back({{"metric", "against/reward"}, {"mean", theirs.mean_reward}});
  table.rows.push_back({{"metric", "against/completions/mean_length"}, {"mean", theirs.mean_length}});
  for (const auto& [name, n] :
       {std::pair("wins", count.wins), {"ties", count.ties}, {"losses", count.losses}})
    table.rows.push_back({{"metric", name}, {"mean", n}, {"problems", count.total()}});
  if (const auto rate = win_rate(count)) {
    table.rows.push_back({{"metric", "win_rate"}, {"mean", rate->rate}, {"problems", count.total()}});
    table.rows.push_back({{"metric", "adjusted_win_rate"},
                          {"mean", rate->adjusted},
                          {"std_error", rate->std_error},
                          {"problems", count.total()}});
  }
  return ok_status();
}

Result<BadRows> evaluate_model(Options o, std::stop_token stop) {
  BadRows bad;
  o.measure.bad_rows = &bad;
  TRY(model, load_model(o.measure.model));
  if (model.spec.score_head) return evaluate_reward_model(model, o, stop);
  if (o.reward.empty()) return invalid_argument("--reward is required: the name of the reward that judges");
  Json item = {{"name", o.reward}};
  for (const std::string& s : o.set) TRY_DO(apply_override(item, s));
  TRY(reward, read_config<RewardConfig>(item));
  o.measure.rewards = {reward};
  if (!o.k_given) std::erase_if(o.measure.k, [&](int64_t k) { return k > o.measure.num_generations; });
  TRY_DO(check_ks(o.measure.k, o.measure.num_generations, {"--k", "--num-generations"}));
  TRY(result, measure(o.measure, stop));
  TRY(unscored, count_unscored(result));
  Table table{{"metric", "mean", "low", "high", "problems"}, {}};
  if (!o.against.empty()) table.columns.insert(table.columns.end() - 1, "std_error");
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
  if (!o.against.empty()) {
    MeasureOptions other = o.measure;
    BadRows bad_there;
    other.model = o.against;
    other.bad_rows = &bad_there;
    TRY(theirs, measure(other, stop));
    if (bad.count < bad_there.count) bad = bad_there;
    TRY_DO(add_comparison(table, result, theirs));
  }
  std::fputs(render(table, o.format).c_str(), stdout);
  return bad;
}

// As the row tools do: what can be used is used, and the exit code tells of the rest.
int run(const Options& o) {
  const SignalStop signals;
  const Result<BadRows> bad = evaluate_model(o, signals.token());
  if (!bad.ok()) return report(bad.status());
  if (bad->count == 0) return 0;
  std::fprintf(stderr, "fulcrum: %lld rows could not be used; the first: %s\n",
               static_cast<long long>(bad->count), bad->first.c_str());
  return 1;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "eval",
      "pass@k (unbiased, 95 % intervals) and maj@k of a model; accuracy of a reward model", run,
      [](CLI::App& v, Options& o) {
        MeasureOptions& m = o.measure;
        v.add_option("-m,--model", m.model, "model folder or llama2.c file")->required();
        v.add_option("--against", o.against,
                     "another model on the same prompts: wins, ties and losses by mean reward");
        v.add_option("--tokenizer", m.tokenizer, "tokenizer folder or file (default: the model's)");
        add_splitter_option(v, m.splitter);
        v.add_option("--data", m.files,
                     "JSONL files with prompt and solution; a reward model: prompt, chosen, rejected")
            ->required();
        v.add_option("--reward", o.reward, "name of the reward (not for a reward model)");
        v.add_option("--set", o.set, "a key of the reward: extract=boxed");
        v.add_option("--correct-reward", m.correct_reward, "reward from which a completion is correct")
            ->capture_default_str();
        v.add_option("--num-generations", m.num_generations)
            ->check(CLI::Range(1, 4096))
            ->capture_default_str();
        v.add_option("--k", m.k, "values of k")
            ->delimiter(',')
            ->check(CLI::Range(1, 4096))
            ->each([&o](const std::string&) { o.k_given = true; });
        v.add_option("--temperature", m.sampling.temperature)
            ->check(temperature_or_greedy())
            ->capture_default_str();
        v.add_option("--top-k", m.sampling.top_k)->check(not_negative());
        v.add_option("--top-p", m.sampling.top_p)->check(CLI::Range(1e-6, 1.0));
        v.add_option("--min-p", m.sampling.min_p)->check(CLI::Range(0.0, 1.0));
        v.add_option("--max-new-tokens", m.sampling.max_completion_length)
            ->check(above_zero())
            ->capture_default_str();
        v.add_option("--seed", m.seed)->capture_default_str();
        add_dtype_option(v, m.dtype);
        add_generation_device_option(v, m.device);
        add_threads_option(v, m.threads, "threads that generate (default 1); changes no result");
        add_output_option(v, o.format);
      });
}

}  // namespace fulcrum::cli
