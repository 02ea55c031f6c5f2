// `fulcrum logps`: log-probs of given completions under a model, by the learner's own forward pass.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "engine/cli/engine/verbs.h"
#include "engine/cli/rows.h"
#include "engine/cli/threads.h"
#include "engine/data/pack.h"
#include "policy/nn/policy.h"
#include "policy/text/model_tokenizer.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string model, tokenizer, splitter;
  double temperature = 1;
  int64_t threads = 1;
  bool eos = false;
  RowFiles files;
};

constexpr int64_t kMaxTokens = 16384, kChunk = 1024;

Status add_logps(Policy& policy, const Tokenizer& tokenizer, const Options& o, Row& row) {
  TRY(prompt, get_string(row.fields, "prompt"));
  TRY(completion, get_string(row.fields, "completion"));
  TRY(prompt_ids, tokenizer.encode(prompt, /*add_special=*/true));
  TRY(ids, tokenizer.encode(completion, /*add_special=*/false));
  if (o.eos && tokenizer.eos()) ids.push_back(*tokenizer.eos());
  if (prompt_ids.empty()) return invalid_argument("the prompt is empty and the tokenizer has no BOS");
  const auto length = static_cast<int64_t>(prompt_ids.size() + ids.size());
  if (length > policy.spec().max_position_embeddings) {
    return invalid_argument(std::to_string(length) + " tokens; the model takes " +
                            std::to_string(policy.spec().max_position_embeddings));
  }
  BatchBuilder builder;
  builder.begin_group(prompt_ids);
  builder.add_row(ids, {});
  std::vector<float> logps;
  if (!ids.empty()) {
    TRY(values, batch_logps(policy, builder.take(), o.temperature, kMaxTokens, kChunk, {}));
    logps = std::move(values);
  }
  row.added["completion_ids"] = ids;
  row.added["logps"] = std::vector<double>(logps.begin(), logps.end());
  const auto bad = std::find_if(logps.begin(), logps.end(), [](float x) { return !std::isfinite(x); });
  if (bad == logps.end()) return ok_status();
  return data_loss("the log-prob of token " + std::to_string(bad - logps.begin()) +
                   " of the completion is not finite: the model's numbers overflow");
}

int run(const Options& o) {
  at::set_num_threads(static_cast<int>(o.threads));
  const auto model = load_model(o.model);
  if (!model.ok()) return report(model.status());
  const auto tokenizer = load_tokenizer_of(*model, o.tokenizer, {.splitter = o.splitter});
  if (!tokenizer.ok()) return report(tokenizer.status());
  const auto policy = Policy::create(*model, {});
  if (!policy.ok()) return report(policy.status());
  return for_each_row(o.files, [&](Row& row) { return add_logps(**policy, **tokenizer, o, row); });
}

}  // namespace

void add_logps(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "logps", "log-probs of completions: rows with `prompt` and `completion`", run,
      [](CLI::App& v, Options& o) {
        v.add_option("-m,--model", o.model, "model folder or llama2.c file")->required();
        v.add_option("--tokenizer", o.tokenizer, "tokenizer folder or file (default: the model's folder)");
        add_splitter_option(v, o.splitter);
        v.add_option("--temperature", o.temperature, "divides the logits")
            ->check(temperature())
            ->capture_default_str();
        v.add_flag("--eos", o.eos, "score the end of the completion too");
        add_threads_option(v, o.threads, "threads (default 1); the last bits of a log-prob depend on it");
        add_row_options(v, o.files);
      });
}

}  // namespace fulcrum::cli
