// `fulcrum soup`: one model made of several (SALSA's reference, arXiv 2411.01798; model soups, 2203.05482;
// WARP, 2406.16768), checked on held-out data before it is written, with a manifest of what it is made of.
#include <algorithm>
#include <cstdio>

#include "engine/cli/engine/held_out.h"
#include "engine/cli/engine/learned_soup.h"
#include "engine/cli/engine/soup_report.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/progress.h"
#include "engine/cli/threads.h"
#include "engine/core/signals.h"
#include "engine/core/text.h"
#include "engine/reference/soup.h"
#include "engine/reference/task_vectors.h"
#include "policy/text/model_tokenizer.h"

namespace fulcrum::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> models, layer_weights, held_out, set;
  std::vector<double> weights;
  std::string recipe = "weighted", out, base, dtype, tokenizer, splitter, reward, format = "table";
  std::optional<double> interpolation, position, mu, margin;
  std::optional<int64_t> steps;
  double max_barrier = 0.1;
  bool extrapolate = false, allow_other_base = false;
  MeasureOptions measure = {.num_generations = 4};
};

bool is_number(const std::string& text) {
  const auto value = parse_json(text);
  return value.ok() && value->is_number();
}

Status check_paths(const Options& o) {
  std::error_code error;
  for (const std::string& model : o.models) {
    if (fs::equivalent(model, o.out, error))
      return invalid_argument("--out " + in_quotes(o.out) + " is one of the models: choose another folder");
    if (is_number(model) && !o.weights.empty() && !fs::exists(model, error)) {
      return invalid_argument(in_quotes(model) +
                              " is taken for a model: give the weights as one list, --weights 0.7,0.3");
    }
  }
  if (fs::exists(o.out, error) && !fs::is_empty(o.out, error)) {
    return already_exists("--out " + in_quotes(o.out) +
                          " is there already and not empty: choose another folder, or remove it first");
  }
  return ok_status();
}

// An option that the chosen recipe would not look at is a mistake.
Status check_options(const Options& o) {
  const auto only = [&](bool given, const char* option, const std::string& recipe) {
    if (!given || o.recipe == recipe) return ok_status();
    return invalid_argument(std::string(option) + " is for --recipe " + recipe);
  };
  TRY_DO(only(!o.weights.empty(), "--weights", "weighted"));
  TRY_DO(only(!o.layer_weights.empty(), "--layer-weights", "weighted"));
  TRY_DO(only(o.extrapolate, "--extrapolate", "weighted"));
  TRY_DO(only(o.position.has_value(), "--position", "slerp"));
  TRY_DO(only(o.mu.has_value(), "--mu", "ema"));
  TRY_DO(only(o.margin.has_value(), "--margin", "greedy"));
  TRY_DO(only(o.steps.has_value(), "--steps", "learned"));
  TRY_DO(only(!o.reward.empty(), "--reward", "greedy"));
  if (o.recipe == "greedy" && o.held_out.empty() && o.reward.empty())
    return invalid_argument("--recipe greedy needs --held-out texts, or --reward and --data");
  if (o.recipe == "learned" && o.held_out.empty())
    return invalid_argument("--recipe learned needs --held-out texts");
  if (o.reward.empty() != o.measure.files.empty())
    return invalid_argument("--reward and --data belong together: a judge and prompts");
  if (o.recipe == "slerp" && o.models.size() != 2 && o.position)
    return invalid_argument("--position lies between two models; of more each counts alike");
  return check_paths(o);
}

// "0-3=0.8,0.2".
Result<SoupRule> parse_rule(const std::string& text) {
  const size_t equals = text.rfind('=');
  SoupRule rule{.tensors = text.substr(0, equals)};
  const auto list =
      equals == std::string::npos ? Result<Json>(Json()) : parse_json("[" + text.substr(equals + 1) + "]");
  if (rule.tensors.empty() || !list.ok() || !list->is_array() || list->empty() ||
      !std::all_of(list->begin(), list->end(), [](const Json& w) { return w.is_number(); })) {
    return invalid_argument("--layer-weights " + in_quotes(text) + " is not like 0-3=0.8,0.2" +
                            (list.ok() ? "" : " (" + list.status().message() + ")"));
  }
  rule.weights = list->get<std::vector<double>>();
  return rule;
}

Result<SoupPlan> make_plan(const Options& o, const std::optional<Ingredient>& base) {
  SoupPlan plan{.recipe = o.recipe == "slerp" ? SoupRecipe::kSlerp : SoupRecipe::kWeighted,
                .weights = o.recipe == "ema" ? ema_weights(o.models.size(), o.mu.value_or(0.1)) : o.weights,
                .normalize = !o.extrapolate,
                .extrapolate = o.extrapolate,
                .position = o.position.value_or(0.5),
                .base = base ? &*base : nullptr,
                .interpolation = o.interpolation.value_or(1.0),
                .allow_other_base = o.allow_other_base};
  for (const std::string& text : o.layer_weights) {
    TRY(rule, parse_rule(text));
    plan.rules.push_back(std::move(rule));
  }
  if (o.dtype == "float32") plan.dtype = DType::kF32;
  if (o.dtype == "bfloat16") plan.dtype = DType::kBF16;
  if (o.dtype == "float16") plan.dtype = DType::kF16;
  return plan;
}

Result<HeldOut> open_held_out(const Options& o, std::shared_ptr<const Tokenizer> tokenizer,
                              const ModelSpec& spec, std::stop_token stop) {
  HeldOutOptions out{.texts = o.held_out, .prompts = o.measure, .stop = std::move(stop)};
  if (!o.reward.empty()) {
    Json item = {{"name", o.reward}};
    for (const std::string& s : o.set) TRY_DO(apply_override(item, s));
    TRY(reward, read_config<RewardConfig>(item));
    out.prompts.rewards = {reward};
    out.prompts.k = {1};
  }
  return HeldOut::open(std::move(out), std::move(tokenizer), spec);
}

Result<GreedyPath> choose(std::span<const Ingredient> models, SoupPlan plan, const HeldOut& held_out,
                          double margin) {
  Progress progress("greedy soup", stderr_is_terminal());
  int64_t done = 0;
  const auto soups = static_cast<int64_t>(2 * models.size() - 1);
  return greedy_soup(models.size(), {.margin = margin},
                     [&](std::span<const double> weights) -> Result<Scores> {
                       plan.weights.assign(weights.begin(), weights.end());
                       TRY(soup, make_soup(models, plan));
                       TRY(scores, held_out.score(soup));
                       progress.update(++done, soups, "");
                       return scores;
                     });
}

Result<LearnedSoup> learn(std::span<const Ingredient> models, const SoupPlan& plan, const HeldOut& held_out,
                          const LearningOptions& options, std::stop_token stop) {
  Progress progress("learning weights", stderr_is_terminal());
  return learn_weights(
      models, plan, *held_out.texts(), options,
      [&](int64_t step) { progress.update(step, options.steps, ""); }, std::move(stop));
}

// What the recipes that look at held-out data choose.
Status choose_weights(const Options& o, const HeldOut& held_out, std::stop_token stop, SoupReport& report) {
  if (o.recipe == "greedy") {
    TRY(path, choose(report.models, report.plan, held_out, o.margin.value_or(1.0)));
    report.plan.weights = uniform_over(path.ingredients, report.models.size());
    report.greedy = std::move(path);
  }
  if (o.recipe == "learned") {
    LearningOptions options;
    options.steps = o.steps.value_or(options.steps);
    TRY(learned, learn(report.models, report.plan, held_out, options, std::move(stop)));
    report.plan.weights = learned.weights;
  }
  return ok_status();
}

Status write(const Options& o, const Model& soup, const Tokenizer& tokenizer, const Json& manifest) {
  TRY_DO(make_folders(o.out));
  TRY_DO(write_model(o.out, soup, tokenizer.files()));
  return write_file_atomic(Path(o.out) / "soup.json", dump_json(manifest, 2) + "\n");
}

Status make(const Options& o, std::stop_token stop) {
  TRY_DO(check_options(o));
  SoupReport report{.recipe = o.recipe};
  std::optional<Ingredient> base;
  if (!o.base.empty()) {
    TRY(loaded, load_ingredient(o.base));
    base = std::move(loaded);
  }
  for (const std::string& path : o.models) {
    TRY(model, load_ingredient(path));
    report.models.push_back(std::move(model));
  }
  TRY(plan, make_plan(o, base));
  report.plan = std::move(plan);
  TRY(tokenizer, load_tokenizer_of(report.models[0].model, o.tokenizer, {.splitter = o.splitter}));
  TRY(held_out, open_held_out(o, tokenizer, report.models[0].model.spec, stop));
  TRY_DO(choose_weights(o, held_out, stop, report));
  TRY(soup, make_soup(report.models, report.plan));
  TRY(weights, soup_weights(report.plan, report.plan.weights, report.models.size()));
  report.weights = std::move(weights);
  TRY(barrier, held_out.barrier(soup, report.models, report.weights, o.max_barrier));
  report.barrier = barrier;
  if (base) {
    TRY(cosines, task_cosines(report.models, *base));
    report.cosines = std::move(cosines);
  }
  const Json manifest = soup_manifest(report, soup);
  TRY_DO(write(o, soup, *tokenizer, manifest));
  std::fputs(render_soup(manifest, o.format).c_str(), stdout);
  return ok_status();
}

void declare(CLI::App& v, Options& o) {
  v.add_option("models", o.models, "model folders, all tuned from one base")->required()->expected(1, 64);
  v.add_option("--out", o.out, "folder to write: the model and its soup.json")->required();
  v.add_option("--recipe", o.recipe,
               "weighted: the average, or that of --weights; greedy: only models that improve the held-out "
               "score; learned: weights that lower the held-out loss; slerp: task vectors merged on the "
               "sphere; ema: a moving average through the models in "
               "order")
      ->check(CLI::IsMember({"weighted", "greedy", "learned", "slerp", "ema"}))
      ->capture_default_str();
  v.add_option("--weights", o.weights, "one weight a model, divided by their sum: 0.7,0.3; default: equal")
      ->delimiter(',');
  v.add_option("--layer-weights", o.layer_weights,
               "other weights for a part of the model, by layers (0-3=0.8,0.2) or by a part of the tensors' "
               "names (lm_head=1,0); the first that fits counts")
      ->expected(1)
      ->take_all();
  v.add_flag("--extrapolate", o.extrapolate, "take the weights as they are: any sum, negative ones too");
  v.add_option("--base", o.base, "the model all were tuned from: for slerp and --interpolation");
  v.add_option("--interpolation", o.interpolation, "write (1 - x) base + x soup")
      ->check(CLI::Range(0.0, 1.0));
  v.add_option("--position", o.position, "slerp of two: from the first (0) to the second (1); default 0.5")
      ->check(CLI::Range(0.0, 1.0));
  v.add_option("--mu", o.mu, "ema: share of each next model; default 0.1")->check(CLI::Range(0.0, 1.0));
  v.add_option("--dtype", o.dtype, "type to write; default float32 (of one model: its own)")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  v.add_flag("--allow-different-base", o.allow_other_base, "average models that record different bases");
  v.add_option("--held-out", o.held_out, "JSONL texts: greedy's score and the check of the loss barrier");
  v.add_option("--max-barrier", o.max_barrier,
               "nats per token by which the soup may be worse than its models on average")
      ->capture_default_str();
  v.add_option("--margin", o.margin,
               "greedy: standard errors by which a candidate must be better; default 1");
  v.add_option("--steps", o.steps, "learned: AdamW steps on the weights; default 20")
      ->check(CLI::Range(1, 10000));
  v.add_option("--reward", o.reward, "greedy: score by this reward on --data instead");
  v.add_option("--set", o.set, "a key of the reward: extract=boxed");
  v.add_option("--data", o.measure.files, "JSONL prompts with solutions, for --reward");
  v.add_option("--num-generations", o.measure.num_generations)
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  v.add_option("--temperature", o.measure.sampling.temperature)
      ->check(temperature_or_greedy())
      ->capture_default_str();
  v.add_option("--max-new-tokens", o.measure.sampling.max_completion_length)
      ->check(above_zero())
      ->capture_default_str();
  v.add_option("--seed", o.measure.seed, "of the completions that --reward judges")->capture_default_str();
  add_threads_option(v, o.measure.threads, "threads that generate (default 1); changes no result");
  v.add_option("--tokenizer", o.tokenizer, "tokenizer folder or file (default: the first model's)");
  add_splitter_option(v, o.splitter);
  add_output_option(v, o.format);
  add_examples(v, {"fulcrum soup sft-1 sft-2 --out soup",
                   "fulcrum soup sft-1 sft-2 --weights 0.7,0.3 --layer-weights lm_head=1,0 --out soup",
                   "fulcrum soup sft-* --recipe greedy --held-out val.jsonl --out soup",
                   "fulcrum soup run-1 run-2 --recipe slerp --base sft --interpolation 0.3 --out merged"});
}

}  // namespace

void add_soup(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "soup", "one model made of several of one shape, checked on held-out data",
      [](const Options& o) {
        const SignalStop signals;
        return report(make(o, signals.token()));
      },
      declare);
}

}  // namespace fulcrum::cli
