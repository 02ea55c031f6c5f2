// What a soup is made of and how it did, as the manifest soup.json and for the terminal. Called by `fulcrum
// soup`. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/cli/engine/held_out.h"
#include "engine/core/json.h"
#include "engine/reference/soup.h"

namespace fulcrum::cli {

struct SoupReport {
  std::string recipe;
  std::vector<Ingredient> models;
  std::vector<double> weights;  // as used
  SoupPlan plan;
  std::optional<GreedyPath> greedy;
  std::optional<BarrierReport> barrier;
  std::vector<std::vector<double>> cosines;  // of the task vectors; empty without a base
};

Json soup_manifest(const SoupReport& report, const Model& soup);

// "table": a line a model and one for the soup; "json", "jsonl": the manifest.
std::string render_soup(const Json& manifest, const std::string& format);

}  // namespace fulcrum::cli
