// `fulcrum config check|schema|explain`: all three read the one declaration of each key.
#include <cstdio>

#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"
#include "engine/pipeline/config/job_config.h"

namespace fulcrum::cli {
namespace {

struct CheckOptions {
  std::string file;
  std::vector<std::string> set;
};

int check(const CheckOptions& o) {
  const Result<JobConfig> config = load_job(o.file, o.set);
  if (!config.ok()) return report(config.status());
  std::printf("%s: a valid %s job of %lld steps, fingerprint %s\n", printable(o.file).c_str(),
              config->objective.trainer.c_str(), static_cast<long long>(config->max_steps),
              job_fingerprint(*config).substr(0, 12).c_str());
  return 0;
}

struct SchemaOptions {};

int schema(const SchemaOptions&) {
  std::printf("%s\n", dump_json(config_schema<JobConfig>(), 2).c_str());
  return 0;
}

struct ExplainOptions {
  std::string key;
  std::string format = "table";
};

void print_key(const KeyInfo& k) {
  std::printf("%s  (%s%s%s%s%s)\n    %s\n", k.path.c_str(), k.type.c_str(), k.range.empty() ? "" : ", ",
              k.range.c_str(), k.default_value.empty() ? "" : ", default ", k.default_value.c_str(),
              k.doc.c_str());
}

int explain(const ExplainOptions& o) {
  const std::vector<KeyInfo> keys = config_keys<JobConfig>();
  Table table{{"key", "type", "range", "default", "what it is"}, {}};
  std::vector<std::string> names;
  bool found = false;
  for (const KeyInfo& k : keys) {
    names.push_back(k.path);
    const bool chosen = o.key.empty() || k.path == o.key || k.path.starts_with(o.key + ".") ||
                        k.path.starts_with(o.key + "[");
    if (!chosen) continue;
    found = true;
    if (o.format == "table") print_key(k);
    table.rows.push_back({{"key", k.path},
                          {"type", k.type},
                          {"range", k.range},
                          {"default", k.default_value},
                          {"what it is", k.doc}});
  }
  if (!found) {
    const std::string near = nearest_name(o.key, names);
    return report(not_found("there is no key " + in_quotes(o.key) +
                            (near.empty() ? "" : "; did you mean " + in_quotes(near) + "?")));
  }
  if (o.format != "table") std::fputs(render(table, o.format).c_str(), stdout);
  return 0;
}

}  // namespace

void add_config_verbs(CLI::App& app, Action& action) {
  CLI::App* config = app.add_subcommand("config", "check a job file; list, describe and export its keys");
  config->require_subcommand(1);
  add_verb<CheckOptions>(*config, action, "check",
                         "say whether a job file is valid, with every complaint at once", check,
                         [](CLI::App& v, CheckOptions& o) {
                           v.add_option("job", o.file, "the job file")->required();
                           v.add_option("--set", o.set, "override a key: a.b=value");
                         });
  add_verb<SchemaOptions>(*config, action, "schema", "print the JSON Schema of job files", schema,
                          [](CLI::App&, SchemaOptions&) {});
  add_verb<ExplainOptions>(*config, action, "explain",
                           "what a key means, its range and default; all keys without an argument", explain,
                           [](CLI::App& v, ExplainOptions& o) {
                             v.add_option("key", o.key, "the key, for example epsilon_high or presample.k");
                             add_output_option(v, o.format);
                           });
}

}  // namespace fulcrum::cli
