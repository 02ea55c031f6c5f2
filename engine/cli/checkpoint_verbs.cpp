// `fulcrum checkpoint list|info|export`: the checkpoints of a run folder.
#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"
#include "engine/jobs/checkpoint.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string run, out, format = "table";
  std::optional<int64_t> step;
  bool best = false;
};

Result<CheckpointStore> store_of(const Options& o) {
  if (!std::filesystem::is_directory(o.run)) return not_found("no run folder " + in_quotes(o.run));
  return CheckpointStore::read_only(Path(o.run) / "checkpoints");
}

Status list(const Options& o) {
  TRY(store, store_of(o));
  TRY(steps, store.steps());
  TRY(best, store.best());
  Table table{{"step", "state", "MiB", "best", "folder"}, {}};
  for (const int64_t step : steps) {
    const auto c = store.verified(step);
    Json row = {{"step", step},
                {"state", c.ok() ? "whole" : c.status().message()},
                {"folder", store.folder_of(step).string()}};
    if (c.ok()) row["MiB"] = static_cast<double>(c->manifest.bytes()) / (1 << 20);
    if (best && best->step == step) row["best"] = best->metric + " " + std::to_string(best->value);
    table.rows.push_back(std::move(row));
  }
  std::fputs(render(table, o.format).c_str(), stdout);
  return ok_status();
}

// --step N, --best, or the newest one that is whole.
Result<Checkpoint> chosen(const Options& o) {
  TRY(store, store_of(o));
  if (o.step) return store.verified(*o.step);
  if (o.best) {
    TRY(best, store.best());
    if (!best) return not_found("no checkpoint of " + in_quotes(o.run) + " is marked as the best");
    return store.verified(best->step);
  }
  std::vector<std::string> damaged;
  TRY(latest, store.latest_complete(damaged));
  if (!latest) return not_found(in_quotes(o.run) + " holds no whole checkpoint");
  return *latest;
}

Status info(const Options& o) {
  TRY(checkpoint, chosen(o));
  Json out = {{"folder", checkpoint.folder.string()},
              {"step", checkpoint.manifest.step},
              {"build", checkpoint.manifest.build},
              {"bytes", checkpoint.manifest.bytes()},
              {"facts", checkpoint.manifest.facts}};
  for (const auto& [name, facts] : checkpoint.manifest.files)
    out["files"][name] = {{"size", facts.size}, {"sha256", facts.sha256}};
  std::printf("%s\n", dump_json(out, 2).c_str());
  return ok_status();
}

// The model alone, without the optimizer's state.
Status export_model(const Options& o) {
  TRY(checkpoint, chosen(o));
  TRY(model, load_model(checkpoint.folder));
  TRY(tokenizer, load_tokenizer(checkpoint.folder));
  TRY_DO(make_folders(o.out));
  TRY_DO(write_model(o.out, model, tokenizer->files()));
  std::printf("%s\n", printable(o.out, 4096).c_str());
  return ok_status();
}

void choose_options(CLI::App& v, Options& o) {
  v.add_option("run", o.run, "the run folder")->required();
  v.add_option("--step", o.step, "the checkpoint of this step (default: the newest whole one)");
  v.add_flag("--best", o.best, "the one with the best evaluation");
}

}  // namespace

void add_checkpoint_verbs(CLI::App& app, Action& action) {
  CLI::App* verbs =
      app.add_subcommand("checkpoint", "list, inspect and export the checkpoints of a run folder");
  verbs->require_subcommand(1);
  add_verb<Options>(
      *verbs, action, "list", "all checkpoints, each verified",
      [](const Options& o) { return report(list(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("run", o.run, "the run folder")->required();
        add_output_option(v, o.format);
      });
  add_verb<Options>(
      *verbs, action, "info", "what one checkpoint holds", [](const Options& o) { return report(info(o)); },
      choose_options);
  add_verb<Options>(
      *verbs, action, "export", "write the model alone, as transformers loads it",
      [](const Options& o) { return report(export_model(o)); },
      [](CLI::App& v, Options& o) {
        choose_options(v, o);
        v.add_option("--out", o.out, "folder to write")->required();
      });
}

}  // namespace fulcrum::cli
