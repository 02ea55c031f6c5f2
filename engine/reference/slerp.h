// Spherical interpolation of task vectors (WARP, arXiv 2406.16768, section 3.2). Called by make_soup, tensor
// by tensor. Pure, thread-safe, in double.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace fulcrum {

// Beyond this |cosine| the arc is straight to rounding, or (opposite vectors) undefined.
inline constexpr double kLerpThreshold = 0.9995;

struct Arc {
  std::vector<double> point;
  std::optional<double> angle;  // none: interpolated along the straight line
  bool opposite = false;        // and that because the vectors point away from each other
};

// From a (position 0) to b (1). With O the angle between them:
//   slerp(a, b, lam) = sin((1 - lam) O)/sin O a + sin(lam O)/sin O b
// Straight where |cos O| > threshold or a vector is 0.
Arc slerp(std::span<const double> a, std::span<const double> b, double position,
          double threshold = kLerpThreshold);

struct MergedTasks {
  std::vector<double> delta;                 // the merged task vector
  std::vector<std::optional<double>> angle;  // of each merge
  bool opposite = false;                     // some merge had no defined arc
};

// Task vectors of equal length, at least one, folded in the order given: the m-th joins with weight 1/m, so
// that with vectors of equal length all count alike; two meet at `position`. The result depends on the order.
MergedTasks merge_tasks(std::span<const std::vector<double>> deltas, double position,
                        double threshold = kLerpThreshold);

}  // namespace fulcrum
