// Line charts as SVG: curves with error bands, nothing else. Names may be any text; points that are not
// finite are left out. Called by the demo. Pure.
#pragma once

#include <string>
#include <vector>

namespace fulcrum::cli {

struct Curve {
  std::string name;
  std::string colour;                   // "#rrggbb"
  std::vector<double> x, y, low, high;  // low and high: the band; may be empty
};

struct Chart {
  std::string title, x_label, y_label;
  bool log2_x = false;
  double y_low = 0, y_high = 1;
  std::vector<Curve> curves;
};

std::string to_svg(const Chart& chart);

}  // namespace fulcrum::cli
