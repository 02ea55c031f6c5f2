#include "engine/cli/engine/soup_report.h"

#include <algorithm>

#include "engine/cli/table.h"

namespace fulcrum::cli {
namespace {

// The base that all models record, or that was named; "" where they do not agree.
std::string common_base(const SoupReport& report) {
  const std::string& first = report.models[0].base_hash;
  const bool agreed = std::all_of(report.models.begin(), report.models.end(),
                                  [&](const Ingredient& m) { return m.base_hash == first; });
  if (agreed && !first.empty()) return first;
  return report.plan.base == nullptr ? "" : base_of(report.plan.base->model);
}

Json ingredients(const SoupReport& report) {
  Json out = Json::array();
  for (size_t i = 0; i < report.models.size(); ++i) {
    const Ingredient& model = report.models[i];
    Json item = {{"model", model.name},
                 {"weight", report.weights[i]},
                 {"content_hash", content_hash(model.model.tensors)},
                 {"tokenizer_hash", model.tokenizer_hash}};
    if (report.barrier) item["nll"] = report.barrier->models[i];
    if (report.greedy) item["score"] = report.greedy->alone[i];
    out.push_back(std::move(item));
  }
  return out;
}

Json greedy_path(const SoupReport& report) {
  Json out = Json::array();
  const GreedyPath& path = *report.greedy;
  for (size_t i = 0; i < path.order.size(); ++i) {
    const size_t m = path.order[i];
    const bool taken =
        std::find(path.ingredients.begin(), path.ingredients.end(), m) != path.ingredients.end();
    out.push_back(
        {{"model", report.models[m].name}, {"taken", taken}, {"best_score", path.best_after_each[i]}});
  }
  return out;
}

}  // namespace

Json soup_manifest(const SoupReport& report, const Model& soup) {
  Json out = {{"recipe", report.recipe},           {"content_hash", content_hash(soup.tensors)},
              {"base", common_base(report)},       {"dtype", dtype_name(soup.spec.dtype)},
              {"accumulated_in", "F64"},           {"tensors", soup.tensors.size()},
              {"ingredients", ingredients(report)}};
  for (const SoupRule& rule : report.plan.rules)
    out["layer_weights"].push_back({{"tensors", rule.tensors}, {"weights", rule.weights}});
  if (report.plan.recipe == SoupRecipe::kSlerp && report.models.size() == 2)
    out["position"] = report.plan.position;
  if (report.plan.base != nullptr) {
    out["base_model"] = report.plan.base->name;
    out["interpolation"] = report.plan.interpolation;
    out["task_cosines"] = report.cosines;
  }
  if (report.greedy) out["greedy"] = greedy_path(report);
  if (report.barrier) {
    out["nll"] = report.barrier->soup;
    out["loss_barrier"] = report.barrier->barrier;
    out["max_barrier"] = report.barrier->limit;
  }
  return out;
}

std::string render_soup(const Json& manifest, const std::string& format) {
  if (format == "json") return dump_json(manifest, 2) + "\n";
  if (format == "jsonl") return dump_json(manifest) + "\n";
  Table table{{"model", "weight"}, manifest["ingredients"].get<std::vector<Json>>()};
  table.rows.push_back({{"model", "soup (" + manifest["recipe"].get<std::string>() + ")"},
                        {"content_hash", manifest["content_hash"]}});
  Json& soup = table.rows.back();
  if (manifest.contains("greedy")) {
    table.columns.emplace_back("score");
    soup["score"] = manifest["greedy"].back()["best_score"];
  }
  if (manifest.contains("nll")) {
    table.columns.emplace_back("nll");
    soup["nll"] = manifest["nll"];
  }
  table.columns.emplace_back("content_hash");
  std::string out = render(table, format);
  if (manifest.contains("loss_barrier")) {
    char text[80];
    std::snprintf(text, sizeof text, "loss barrier %.3g nats per token (limit %.3g)\n",
                  manifest["loss_barrier"].get<double>(), manifest["max_barrier"].get<double>());
    out += text;
  }
  return out;
}

}  // namespace fulcrum::cli
