#include "policy/decode/rope_angles.h"

#include <algorithm>
#include <cmath>

#include "policy/weights/rope_frequencies.h"

namespace fulcrum {

RopeAngles::RopeAngles(const ModelSpec& spec) : frequencies_(rope_frequencies(spec)) {}

void RopeAngles::grow_to(int64_t positions) {
  const int64_t have = static_cast<int64_t>(cosines_.size()) / pairs();
  if (positions <= have) return;
  for (int64_t p = have; p < std::max(positions, 2 * have); ++p) {
    for (const double frequency : frequencies_) {
      cosines_.push_back(static_cast<float>(std::cos(static_cast<double>(p) * frequency)));
      sines_.push_back(static_cast<float>(std::sin(static_cast<double>(p) * frequency)));
    }
  }
}

}  // namespace fulcrum
