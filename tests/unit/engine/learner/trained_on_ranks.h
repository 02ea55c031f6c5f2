// What ranks have after they trained together, and how far it is from what one process has. For the tests of
// learners on ranks, wherever their models lie.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/ranks.h"
#include "tests/unit/engine/learner/learner_rig.h"

namespace fulcrum::testing {

struct Trained {
  Metrics metrics;
  LearnerState state;
};

inline Trained train(LearnerOptions options, Needs needs, const std::shared_ptr<Collective>& group,
                     int steps) {
  options.group = group;
  Rig rig(options, needs);
  Trained out;
  for (int s = 0; s < steps; ++s) out.metrics = rig.step(static_cast<uint64_t>(s));
  out.state = rig.learner->save();
  return out;
}

inline std::vector<Trained> train_on_ranks(int64_t ranks, const LearnerOptions& options, Needs needs,
                                           int steps) {
  std::mutex mutex;
  std::vector<Trained> out(static_cast<size_t>(ranks));
  on_ranks(ranks, [&](const std::shared_ptr<Collective>& group) {
    Trained mine = train(options, needs, group, steps);
    const std::lock_guard lock(mutex);
    out[static_cast<size_t>(group->rank())] = std::move(mine);
  });
  return out;
}

// Of the tensors whose names begin with `prefix`. After one step "exp_avg/" is a tenth of the gradient.
inline std::vector<float> numbers_of(const LearnerState& state, const std::string& prefix) {
  std::vector<float> out;
  for (const auto& [name, tensor] : state.tensors) {
    if (!name.starts_with(prefix)) continue;
    const std::vector<float> values = to_float(tensor).value();
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

inline double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, scale = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - want[i], 2);
    scale += std::pow(static_cast<double>(want[i]), 2);
  }
  EXPECT_GT(scale, 0);
  return std::sqrt(error / scale);
}

}  // namespace fulcrum::testing
