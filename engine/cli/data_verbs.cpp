// `fulcrum data check|preview`: what a data file holds, and whether a trainer can use it.
#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"
#include "engine/data/dataset.h"
#include "engine/data/jsonl.h"
#include "engine/objective/config/trainers.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::cli {
namespace {

struct CheckOptions {
  std::vector<std::string> files;
  std::string trainer, model;
  int64_t max_prompt_length = 512, max_length = 1024;
};

Status check(const CheckOptions& o) {
  TRY(tokenizer, load_tokenizer(o.model));
  const auto model = load_model(o.model);  // where it is one, and not a tokenizer alone
  TRY(data, Dataset::open({.files = o.files,
                           .format = trainer_rows(o.trainer),
                           .max_prompt_length = o.max_prompt_length,
                           .context = model.ok() ? model->spec.max_position_embeddings : 0,
                           .max_length = o.max_length},
                          *tokenizer, tokenizer->vocab_size()));
  int64_t tokens = 0, longest = 0;
  for (int64_t i = 0; i < data.size(); ++i) {
    const auto n = static_cast<int64_t>(data.row(i).prompt.ids.size());
    tokens += n;
    longest = std::max(longest, n);
  }
  std::printf("%lld rows fit trainer %s; prompts have %.1f tokens on average, %lld at most\n",
              static_cast<long long>(data.size()), o.trainer.c_str(),
              static_cast<double>(tokens) / static_cast<double>(data.size()),
              static_cast<long long>(longest));
  return ok_status();
}

struct PreviewOptions {
  std::string file, format = "table";
  size_t rows = 5;
};

Status preview(const PreviewOptions& o) {
  TRY(rows, read_jsonl(o.file));
  Table table;
  for (size_t i = 0; i < rows.size() && i < o.rows; ++i) {
    for (const auto& [name, unused] : rows[i].columns.items()) {
      if (std::find(table.columns.begin(), table.columns.end(), name) == table.columns.end())
        table.columns.push_back(name);
    }
    table.rows.push_back(rows[i].columns);
  }
  std::fputs(render(table, o.format).c_str(), stdout);
  return ok_status();
}

}  // namespace

void add_data_verbs(CLI::App& app, Action& action) {
  CLI::App* data = app.add_subcommand("data", "look at data files");
  data->require_subcommand(1);
  add_verb<CheckOptions>(
      *data, action, "check", "whether a trainer can use the files; the first bad row is named",
      [](const CheckOptions& o) { return report(check(o)); },
      [](CLI::App& v, CheckOptions& o) {
        v.add_option("files", o.files, "JSONL files")->required();
        v.add_option("--trainer", o.trainer)->required()->check(CLI::IsMember(trainer_names()));
        v.add_option("-m,--model", o.model, "model folder or tokenizer file")->required();
        v.add_option("--max-prompt-length", o.max_prompt_length)->capture_default_str();
        v.add_option("--max-length", o.max_length)->capture_default_str();
      });
  add_verb<PreviewOptions>(
      *data, action, "preview", "the first rows of a file",
      [](const PreviewOptions& o) { return report(preview(o)); },
      [](CLI::App& v, PreviewOptions& o) {
        v.add_option("file", o.file, "JSONL file")->required();
        v.add_option("-n,--rows", o.rows)->capture_default_str();
        add_output_option(v, o.format);
      });
}

}  // namespace fulcrum::cli
