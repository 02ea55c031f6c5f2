#include "engine/cli/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

constexpr double kWidth = 640, kHeight = 420, kLeft = 64, kRight = 150, kTop = 44, kBottom = 52;
constexpr double kLegendStep = 22;

// Text as XML takes it: well-formed UTF-8, no control characters, markup as entities.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : to_valid_utf8(text)) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

constexpr size_t kMostTicks = 8, kLongestTick = 4;

// Whether the places of the points serve as ticks: few, and short to read.
bool good_ticks(const std::set<double>& xs) {
  return xs.size() <= kMostTicks &&
         std::all_of(xs.begin(), xs.end(), [](double v) { return format("%g", v).size() <= kLongestTick; });
}

// A few round numbers inside [low, high].
std::set<double> round_numbers(double low, double high) {
  double step = std::pow(10.0, std::floor(std::log10((high - low) / 4)));
  for (const double factor : {2.0, 2.5, 2.0}) {
    if ((high - low) / step <= 6) break;
    step *= factor;
  }
  std::set<double> out;
  for (double v = std::ceil(low / step) * step; v <= high * (1 + 1e-12); v += step)
    out.insert(std::abs(v) < step / 2 ? 0 : v);
  return out;
}

// Maps data to the page.
class Axes {
 public:
  explicit Axes(const Chart& chart) : chart_(chart) {
    for (const Curve& c : chart.curves) {
      for (const double v : c.x) {
        if (std::isfinite(scale(v))) xs_.insert(v);
      }
    }
    if (xs_.empty()) xs_ = {1, 2};
    low_ = scale(*xs_.begin());
    high_ = scale(*xs_.rbegin());
    if (!chart.log2_x && !good_ticks(xs_)) xs_ = round_numbers(*xs_.begin(), *xs_.rbegin());
  }
  double x(double v) const {
    return kLeft + (high_ > low_ ? (scale(v) - low_) / (high_ - low_) : 0.5) * (kWidth - kLeft - kRight);
  }
  double y(double v) const {
    const double room = chart_.y_high - chart_.y_low;
    const double part = room > 0 ? (v - chart_.y_low) / room : 0.5;
    return kHeight - kBottom - std::clamp(part, 0.0, 1.0) * (kHeight - kTop - kBottom);
  }
  const std::set<double>& ticks() const { return xs_; }
  bool shows(double vx, double vy) const { return std::isfinite(scale(vx)) && std::isfinite(vy); }

 private:
  double scale(double v) const { return chart_.log2_x ? std::log2(v) : v; }
  const Chart& chart_;
  double low_ = 0, high_ = 1;
  std::set<double> xs_;
};

std::string points(const Axes& axes, const std::vector<double>& x, const std::vector<double>& y) {
  std::string out;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (axes.shows(x[i], y[i])) out += format("%.1f,%.1f ", axes.x(x[i]), axes.y(y[i]));
  }
  return out;
}

std::string frame(const Chart& chart, const Axes& axes) {
  std::string out;
  for (int i = 0; i <= 5; ++i) {
    const double v = chart.y_low + (chart.y_high - chart.y_low) * i / 5;
    out += format("<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>", kLeft, axes.y(v),
                  kWidth - kRight, axes.y(v));
    out += format("<text x='%.1f' y='%.1f' text-anchor='end'>%.2g</text>\n", kLeft - 8, axes.y(v) + 4, v);
  }
  for (const double v : axes.ticks()) {
    out += format("<text x='%.1f' y='%.1f' text-anchor='middle'>%g</text>\n", axes.x(v),
                  kHeight - kBottom + 20, v);
  }
  out += format("<text x='%.1f' y='24' font-size='16' font-weight='bold'>", kLeft) + escaped(chart.title) +
         "</text>\n";
  out +=
      format("<text x='%.1f' y='%.1f' text-anchor='middle'>", (kLeft + kWidth - kRight) / 2, kHeight - 12) +
      escaped(chart.x_label) + "</text>\n";
  out += format("<text transform='translate(18 %.1f) rotate(-90)' text-anchor='middle'>", kHeight / 2) +
         escaped(chart.y_label) + "</text>\n";
  return out;
}

std::string curve(const Axes& axes, const Curve& c) {
  const std::string colour = escaped(c.colour);
  std::string out;
  if (!c.low.empty() && c.low.size() == c.x.size() && c.high.size() == c.x.size()) {
    std::vector<double> x(c.x), y(c.high);
    x.insert(x.end(), c.x.rbegin(), c.x.rend());
    y.insert(y.end(), c.low.rbegin(), c.low.rend());
    out += "<polygon points='" + points(axes, x, y) + "' fill='" + colour + "' opacity='0.15'/>\n";
  }
  out += "<polyline points='" + points(axes, c.x, c.y) + "' fill='none' stroke='" + colour +
         "' stroke-width='2.5'/>\n";
  for (size_t i = 0; i < std::min(c.x.size(), c.y.size()); ++i) {
    if (!axes.shows(c.x[i], c.y[i])) continue;
    out += format("<circle cx='%.1f' cy='%.1f' r='3.5' fill='", axes.x(c.x[i]), axes.y(c.y[i])) + colour +
           "'/>\n";
  }
  return out;
}

std::string legend(const Curve& c, double y) {
  return format("<rect x='%.1f' y='%.1f' width='14' height='4' fill='", kWidth - kRight + 14, y - 6) +
         escaped(c.colour) + "'/>" + format("<text x='%.1f' y='%.1f'>", kWidth - kRight + 34, y) +
         escaped(c.name) + "</text>\n";
}

}  // namespace

std::string to_svg(const Chart& chart) {
  const Axes axes(chart);
  std::string out = format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' font-family='sans-serif' "
      "font-size='13'>\n"
      "<rect width='100%%' height='100%%' fill='white'/>\n",
      kWidth, kHeight);
  out += frame(chart, axes);
  for (size_t i = 0; i < chart.curves.size(); ++i) {
    out += curve(axes, chart.curves[i]) +
           legend(chart.curves[i], kTop + 10 + kLegendStep * static_cast<double>(i));
  }
  return out + "</svg>\n";
}

}  // namespace fulcrum::cli
