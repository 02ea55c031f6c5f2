// The angles of rotary embeddings, position by position. Used by the decoder. Not thread-safe while it grows.
#pragma once

#include <cstdint>
#include <vector>

#include "policy/weights/model_spec.h"

namespace fulcrum {

// cos and sin of position * frequency, computed in double and rounded once, for the positions seen so far.
class RopeAngles {
 public:
  explicit RopeAngles(const ModelSpec& spec);

  void grow_to(int64_t positions);
  // head_dim / 2 each, of a position below the grown size.
  const float* cosines(int64_t position) const { return cosines_.data() + position * pairs(); }
  const float* sines(int64_t position) const { return sines_.data() + position * pairs(); }

 private:
  int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }

  std::vector<double> frequencies_;
  std::vector<float> cosines_, sines_;
};

}  // namespace fulcrum
