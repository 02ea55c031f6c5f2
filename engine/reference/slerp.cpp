#include "engine/reference/slerp.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fulcrum {
namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> combined(double x, std::span<const double> a, double y, std::span<const double> b) {
  std::vector<double> out(a.size());
  for (size_t i = 0; i < a.size(); ++i) out[i] = x * a[i] + y * b[i];
  return out;
}

}  // namespace

Arc slerp(std::span<const double> a, std::span<const double> b, double position, double threshold) {
  const double lengths = std::sqrt(dot(a, a)) * std::sqrt(dot(b, b));
  const double cosine = lengths > 0 ? std::clamp(dot(a, b) / lengths, -1.0, 1.0) : 1.0;
  if (std::abs(cosine) > threshold || lengths == 0)
    return {combined(1 - position, a, position, b), std::nullopt, cosine < 0};
  const double angle = std::acos(cosine), sine = std::sin(angle);
  return {combined(std::sin((1 - position) * angle) / sine, a, std::sin(position * angle) / sine, b), angle,
          false};
}

MergedTasks merge_tasks(std::span<const std::vector<double>> deltas, double position, double threshold) {
  MergedTasks out{.delta = deltas[0]};
  for (size_t m = 1; m < deltas.size(); ++m) {
    const double share = deltas.size() == 2 ? position : 1.0 / static_cast<double>(m + 1);
    Arc arc = slerp(out.delta, deltas[m], share, threshold);
    out.delta = std::move(arc.point);
    out.angle.push_back(arc.angle);
    out.opposite = out.opposite || arc.opposite;
  }
  return out;
}

}  // namespace fulcrum
