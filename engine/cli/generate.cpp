// `fulcrum generate`: continues prompts, from the command line (streaming) or from rows.
#include <cstdio>

#include "engine/cli/decode_options.h"
#include "engine/cli/rows.h"
#include "engine/cli/terminal_text.h"
#include "engine/cli/threads.h"
#include "engine/cli/verbs.h"
#include "engine/core/signals.h"
#include "policy/text/model_tokenizer.h"
#include "rollout/generation_device.h"
#include "rollout/make_generator.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string model, tokenizer, splitter, prompt, dtype = "float32", device = "auto";
  bool has_prompt = false, greedy = false;
  SamplingParams sampling;
  int64_t num_generations = 1, max_batch = 32, threads = 1;
  uint64_t seed = 0;
  RowFiles files;
};

struct Loaded {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<CompletionGenerator> generator;
};

Result<Loaded> load(const Options& o) {
  TRY(model, load_model(o.model));
  TRY(tokenizer, load_tokenizer_of(model, o.tokenizer, {.splitter = o.splitter}));
  TRY(device, generation_device(o.device));
  const GeneratorOptions options{.max_batch = o.max_batch, .threads = o.threads, .device = device};
  TRY(generating, make_generating_model(model.spec, model.tensors, decode_dtype(o.dtype), options));
  return Loaded{tokenizer, make_generator(generating, tokenizer, options)};
}

Result<RolloutRequest> request_for(const Options& o, const Tokenizer& tokenizer, const std::string& text,
                                   int64_t index) {
  TRY(ids, tokenizer.encode(text, /*add_special=*/true));
  if (ids.empty()) return invalid_argument("the prompt is empty and the tokenizer has no BOS");
  RolloutRequest r{.seed = o.seed,
                   .evaluation = true,
                   .step = 0,
                   .index = index,
                   .num_generations = o.num_generations,
                   .sampling = o.sampling};
  r.prompt.row = -1;  // a message stands in its row already
  r.prompt.text = text;
  r.prompt.ids = std::move(ids);
  if (o.greedy) r.sampling.temperature = 0;
  return r;
}

int stream(const Options& o, const Loaded& loaded, std::stop_token stop) {
  const auto request = request_for(o, *loaded.tokenizer, o.prompt, 0);
  if (!request.ok()) return report(request.status());
  const bool live = o.num_generations == 1;
  GenerateCalls calls;
  if (live) {
    calls.on_token = [](const TokenEvent& t) {
      std::fputs(terminal_text(t.text).c_str(), stdout);
      std::fflush(stdout);
    };
  }
  const auto groups = loaded.generator->generate(std::span(&*request, 1), {}, stop, calls);
  if (!groups.ok()) return report(groups.status());
  if (live) {
    std::printf("\n");
    return 0;
  }
  for (const Completion& c : groups->front().completions) std::printf("%s\n", terminal_text(c.text).c_str());
  return 0;
}

void add_completions(const Options& o, const RolloutGroup& group, Json& added) {
  if (o.num_generations == 1) {
    const Completion& c = group.completions.front();
    added["completion"] = c.text;
    added["completion_ids"] = c.ids;
    added["logps"] = std::vector<double>(c.logps.begin(), c.logps.end());
    added["finish_reason"] = finish_reason_name(c.finish);
    return;
  }
  Json completions = Json::array();
  for (const Completion& c : group.completions) {
    completions.push_back({{"completion", c.text},
                           {"completion_ids", c.ids},
                           {"logps", std::vector<double>(c.logps.begin(), c.logps.end())},
                           {"finish_reason", finish_reason_name(c.finish)}});
  }
  added["completions"] = std::move(completions);
}

// Writes rows: those of the input, or the one whose prompt is on the command line.
int rows(const Options& o, const Loaded& loaded, std::stop_token stop) {
  int64_t next = 0;
  const AddFields complete = [&](std::span<Row> batch) {
    std::vector<Status> status(batch.size());
    std::vector<RolloutRequest> requests;
    std::vector<size_t> place;
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto text = get_string(batch[i].fields, "prompt");
      const auto request = text.ok() ? request_for(o, *loaded.tokenizer, *text, next++)
                                     : Result<RolloutRequest>(text.status());
      status[i] = request.status();
      if (!status[i].ok()) continue;
      requests.push_back(*request);
      place.push_back(i);
    }
    // Together; if one prompt does not fit the model, one by one, so that only its own row fails.
    const auto groups = loaded.generator->generate(requests, {}, stop);
    const bool apart = groups.status().code() == Code::kInvalidArgument;
    for (size_t j = 0; j < place.size(); ++j) {
      const auto alone = apart ? loaded.generator->generate(std::span(&requests[j], 1), {}, stop)
                               : Result<std::vector<RolloutGroup>>(groups.status());
      const auto& made = apart ? alone : groups;
      if (made.ok())
        add_completions(o, (*made)[apart ? 0 : j], batch[place[j]].added);
      else
        status[place[j]] = made.status();
    }
    return status;
  };
  if (o.has_prompt) return for_one_row(o.files, {{"prompt", o.prompt}}, complete, stop);
  return for_each_batch(o.files, 64, complete, stop);
}

int run(const Options& o) {
  const SignalStop signals;
  const auto loaded = load(o);
  if (!loaded.ok()) return report(loaded.status());
  return o.has_prompt && !o.files.wants_row() ? stream(o, *loaded, signals.token())
                                              : rows(o, *loaded, signals.token());
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "generate", "continue a prompt, or the `prompt` of each row", run,
      [](CLI::App& v, Options& o) {
        CLI::Option* prompt = v.add_option_function<std::string>(
            "prompt",
            [&o](const std::string& p) {
              o.prompt = p;
              o.has_prompt = true;
            },
            "a prompt, printed as text unless --to or -o asks for a row; without one, JSONL rows are read");
        v.add_option("-m,--model", o.model, "model folder or llama2.c file")->required();
        v.add_option("--tokenizer", o.tokenizer, "tokenizer folder or file (default: the model's)");
        add_splitter_option(v, o.splitter);
        v.add_flag("--greedy", o.greedy, "always the likeliest token");
        v.add_option("--temperature", o.sampling.temperature)
            ->check(temperature_or_greedy())
            ->capture_default_str();
        v.add_option("--top-k", o.sampling.top_k, "0: off")->check(not_negative())->capture_default_str();
        v.add_option("--top-p", o.sampling.top_p, "1: off")
            ->check(CLI::Range(1e-6, 1.0))
            ->capture_default_str();
        v.add_option("--min-p", o.sampling.min_p, "0: off")
            ->check(CLI::Range(0.0, 1.0))
            ->capture_default_str();
        v.add_option("--seed", o.seed)->capture_default_str();
        v.add_option("--num-generations", o.num_generations)
            ->check(CLI::Range(1, 65536))
            ->capture_default_str();
        v.add_option("--max-new-tokens", o.sampling.max_completion_length)
            ->check(above_zero())
            ->capture_default_str();
        v.add_option("--stop", o.sampling.stop, "texts that end a completion");
        v.add_option("--max-batch", o.max_batch, "sequences at a time; changes no result")
            ->check(CLI::Range(1, 65536))
            ->capture_default_str();
        add_threads_option(v, o.threads, "threads that generate (default 1); changes no result");
        add_dtype_option(v, o.dtype);
        add_generation_device_option(v, o.device);
        add_row_options(v, o.files, prompt);
      });
}

}  // namespace fulcrum::cli
