#include "engine/cli/engine/study/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

constexpr std::array<const char*, 8> kPalette = {"#d95f02", "#1b9e77", "#7570b3", "#e7298a",
                                                 "#66a61e", "#e6ab02", "#a6761d", "#1f78b4"};
constexpr const char* kBaseColour = "#888888";

struct Spread {
  double mean = 0, deviation = 0, low = 0, high = 0;
};

Spread spread_of(const std::vector<double>& values) {
  Spread out;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) out.mean += v / n;
  for (const double v : values) out.deviation += (v - out.mean) * (v - out.mean);
  out.deviation = values.size() > 1 ? std::sqrt(out.deviation / (n - 1)) : 0;
  out.low = *std::min_element(values.begin(), values.end());
  out.high = *std::max_element(values.begin(), values.end());
  return out;
}

// The findings of a model by step.
std::map<int64_t, std::vector<const Finding*>> by_step(const std::vector<Finding>& findings,
                                                       const std::string& model) {
  std::map<int64_t, std::vector<const Finding*>> out;
  for (const Finding& f : findings) {
    if (f.model == model) out[f.step].push_back(&f);
  }
  return out;
}

std::vector<double> values_of(const std::vector<const Finding*>& findings, const std::string& name) {
  std::vector<double> out;
  for (const Finding* f : findings) {
    if (name == "step") {
      out.push_back(static_cast<double>(f->step));
    } else if (const auto found = f->values.find(name); found != f->values.end()) {
      out.push_back(found->second);
    }
  }
  return out;
}

std::string shown(const std::vector<double>& values) {
  const Spread s = spread_of(values);
  char text[80];
  if (values.size() == 1)
    std::snprintf(text, sizeof text, "%.4g", s.mean);
  else
    std::snprintf(text, sizeof text, "%.4g +- %.2g", s.mean, s.deviation);
  return text;
}

void add_point(Curve& curve, double x, const std::vector<double>& values) {
  if (values.empty()) return;
  const Spread s = spread_of(values);
  curve.x.push_back(x);
  curve.y.push_back(s.mean);
  curve.low.push_back(s.low);
  curve.high.push_back(s.high);
}

Curve curve_over_k(const std::map<int64_t, std::vector<const Finding*>>& steps, const std::string& y) {
  Curve curve;
  if (steps.empty()) return curve;
  const std::vector<const Finding*>& last = steps.rbegin()->second;
  const std::string prefix = y.substr(0, y.find('@') + 1);
  std::map<int64_t, std::string> names;
  for (const auto& [name, value] : last.front()->values) {
    if (name.starts_with(prefix)) names[std::atoll(name.c_str() + prefix.size())] = name;
  }
  for (const auto& [k, name] : names) add_point(curve, static_cast<double>(k), values_of(last, name));
  return curve;
}

Curve curve_over_steps(const std::map<int64_t, std::vector<const Finding*>>& steps, const StudyChart& chart) {
  Curve curve;
  for (const auto& [step, findings] : steps) {
    const std::vector<double> x = values_of(findings, chart.x);
    if (!x.empty()) add_point(curve, spread_of(x).mean, values_of(findings, chart.y));
  }
  return curve;
}

void fit_axis(Chart& chart) {
  double low = 0, high = 0;
  bool any = false;
  for (const Curve& c : chart.curves) {
    for (size_t i = 0; i < c.low.size(); ++i) {
      low = any ? std::min(low, c.low[i]) : c.low[i];
      high = any ? std::max(high, c.high[i]) : c.high[i];
      any = true;
    }
  }
  const double room = high > low ? 0.05 * (high - low) : 0.5;
  chart.y_low = low >= 0 && low < room * 4 ? 0 : low - room;
  chart.y_high = high + room;
}

}  // namespace

Table study_table(const StudyConfig& study, const std::vector<Finding>& findings) {
  Table table{{"model"}, {}};
  table.columns.insert(table.columns.end(), study.columns.begin(), study.columns.end());
  for (const StudyStage& model : compared_models(study)) {
    const auto steps = by_step(findings, model.name);
    if (steps.empty()) continue;
    Json row = {{"model", model.name}};
    for (const std::string& column : study.columns) {
      const std::vector<double> values = values_of(steps.rbegin()->second, column);
      if (!values.empty()) row[column] = shown(values);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Chart study_chart(const StudyConfig& study, const StudyChart& chart, const std::vector<Finding>& findings) {
  const bool over_k = chart.x == "k";
  Chart out{.title = chart.title.empty() ? study.title : chart.title,
            .x_label = chart.x_label.empty() ? chart.x : chart.x_label,
            .y_label = chart.y_label.empty() ? chart.y : chart.y_label,
            .log2_x = over_k,
            .curves = {}};
  size_t next = 0;
  for (const StudyStage& model : compared_models(study)) {
    const auto steps = by_step(findings, model.name);
    Curve curve = over_k ? curve_over_k(steps, chart.y) : curve_over_steps(steps, chart);
    const char* palette = model.name == study.base ? kBaseColour : kPalette[next++ % kPalette.size()];
    curve.name = model.name;
    curve.colour = model.colour.empty() ? palette : model.colour;
    if (!curve.x.empty()) out.curves.push_back(std::move(curve));
  }
  fit_axis(out);
  return out;
}

std::string study_markdown(const StudyConfig& study, const Table& table, int64_t seeds) {
  std::string out = "# " + printable(study.title) + "\n\n|";
  std::string line = "\n|";
  for (const std::string& column : table.columns) {
    out += " " + printable(column) + " |";
    line += "---|";
  }
  out += line + "\n";
  for (const Json& row : table.rows) {
    out += "|";
    for (const std::string& column : table.columns) {
      out += " " + (row.contains(column) ? printable(row[column].get<std::string>()) : std::string()) + " |";
    }
    out += "\n";
  }
  return out + "\n" +
         (seeds == 1 ? std::string("One seed.\n")
                     : "Mean and standard deviation over " + std::to_string(seeds) + " seeds.\n");
}

}  // namespace fulcrum::cli
