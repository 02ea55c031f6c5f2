// `fulcrum soup`: the weighted average of models of one shape (SALSA's reference, arXiv 2411.01798).
#include <cstdio>

#include "engine/cli/engine/verbs.h"
#include "engine/core/text.h"
#include "engine/reference/reference.h"
#include "policy/text/tokenizer.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  std::vector<double> weights;
  std::string out;
};

Status make(const Options& o) {
  std::vector<Model> models;
  for (const std::string& path : o.models) {
    TRY(model, load_model(path));
    models.push_back(std::move(model));
  }
  std::vector<double> weights = o.weights;
  if (weights.empty()) weights.assign(models.size(), 1.0 / static_cast<double>(models.size()));
  TRY(soup, make_soup(models, weights));
  TRY(tokenizer, load_tokenizer(o.models.front()));
  TRY_DO(make_folders(o.out));
  TRY_DO(write_model(o.out, soup, tokenizer->files()));
  std::printf("%s\n", content_hash(soup.tensors).c_str());
  return ok_status();
}

}  // namespace

void add_soup(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "soup", "average models of one shape; prints the content hash",
      [](const Options& o) { return report(make(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("models", o.models, "model folders")->required()->expected(1, 64);
        v.add_option("--weights", o.weights, "one weight a model; default: equal")->delimiter(',');
        v.add_option("--out", o.out, "folder to write")->required();
      });
}

}  // namespace fulcrum::cli
