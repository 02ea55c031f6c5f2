// The learner on several ranks whose models lie on a device: gradients are summed there by a device group,
// and losses and gradients are those of one process.
#include <gmock/gmock.h>

#include <cmath>
#include <mutex>

#include "tests/support/far_device.h"
#include "tests/support/far_group.h"
#include "tests/support/ranks.h"
#include "tests/unit/engine/learner/learner_rig.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;
using ::testing::ElementsAre;
using Group = std::shared_ptr<Collective>;

// What a rank has after some steps.
struct Trained {
  Metrics metrics;
  LearnerState state;
};

Trained train(LearnerOptions options, const Group& group, int steps) {
  options.group = group;
  Rig rig(options);
  Trained out;
  for (int s = 0; s < steps; ++s) out.metrics = rig.step(static_cast<uint64_t>(s));
  out.state = rig.learner->save();
  return out;
}

std::vector<Trained> train_on_two(const LearnerOptions& options, int steps) {
  std::mutex mutex;
  std::vector<Trained> out(2);
  on_ranks(2, [&](const Group& group) {
    Trained mine = train(options, group, steps);
    const std::lock_guard lock(mutex);
    out[static_cast<size_t>(group->rank())] = std::move(mine);
  });
  return out;
}

// After one step the first moment is a tenth of the gradient.
std::vector<float> gradients_of(const LearnerState& state) {
  std::vector<float> out;
  for (const auto& [name, tensor] : state.tensors) {
    if (!name.starts_with("exp_avg/")) continue;
    const std::vector<float> values = to_float(tensor).value();
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, scale = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - want[i], 2);
    scale += std::pow(static_cast<double>(want[i]), 2);
  }
  EXPECT_GT(scale, 0);
  return std::sqrt(error / scale);
}

LearnerOptions far_options() {
  LearnerOptions out = fast_options();
  out.config.device = far_device().str();
  return out;
}

TEST(DeviceRanks, GiveTheLossAndTheGradientOfOneProcessTo1e6) {
  const FarGroup far;
  const Trained alone = train(far_options(), nullptr, 1);
  for (const Trained& rank : train_on_two(far_options(), 1)) {
    EXPECT_LT(relative_error(gradients_of(rank.state), gradients_of(alone.state)), 1e-6);
    const double want = alone.metrics.at("loss").mean();
    EXPECT_NEAR(rank.metrics.at("loss").mean(), want, 1e-6 * std::abs(want));
  }
  const FarGroupCounts counts = far_group_counts();
  EXPECT_EQ(counts.ids, 1);
  EXPECT_GT(counts.sums, 0);
  EXPECT_EQ(counts.sums % 2, 0);
  EXPECT_THAT(counts.left, ElementsAre(0, 1));
}

TEST(DeviceRanks, HaveTheBitsThatSumsOverTheHostsGive) {
  std::vector<Trained> by_device, by_hosts;
  {
    const FarGroup far;
    by_device = train_on_two(far_options(), 3);
    EXPECT_GT(far_group_counts().sums, 0);
  }
  give_far_group_orders({});
  by_hosts = train_on_two(far_options(), 3);
  EXPECT_EQ(far_group_counts().sums, 0);
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(content_hash(by_device[r].state.tensors), content_hash(by_hosts[r].state.tensors));
    EXPECT_EQ(by_device[r].metrics.at("loss").sum, by_hosts[r].metrics.at("loss").sum);
  }
}

}  // namespace
}  // namespace fulcrum
