// The learner on several ranks whose models lie on a device: gradients are summed there by a device group,
// and losses and gradients are those of one process.
#include <gmock/gmock.h>

#include <cmath>
#include <optional>

#include "tests/device/emulated_kernels.h"
#include "tests/support/far_device.h"
#include "tests/support/far_group.h"
#include "tests/unit/engine/learner/trained_on_ranks.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;
using ::testing::ElementsAre;

LearnerOptions far_options() {
  LearnerOptions out = fast_options();
  out.config.device = far_device().str();
  return out;
}

TEST(DeviceRanks, GiveTheLossAndTheGradientOfOneProcessTo1e6) {
  const FarGroup far;
  const Trained alone = train(far_options(), {}, nullptr, 1);
  for (const Trained& rank : train_on_ranks(2, far_options(), {}, 1)) {
    EXPECT_LT(relative_error(numbers_of(rank.state, "exp_avg/"), numbers_of(alone.state, "exp_avg/")), 1e-6);
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
    by_device = train_on_ranks(2, far_options(), {}, 3);
    EXPECT_GT(far_group_counts().sums, 0);
  }
  give_far_group_orders({});
  by_hosts = train_on_ranks(2, far_options(), {}, 3);
  EXPECT_EQ(far_group_counts().sums, 0);
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(content_hash(by_device[r].state.tensors), content_hash(by_hosts[r].state.tensors));
    EXPECT_EQ(by_device[r].metrics.at("loss").sum, by_hosts[r].metrics.at("loss").sum);
  }
}

// With the kernels too, which decide it before the host knows.
TEST(DeviceRanks, LeaveTheModelAloneWhereAGradientIsNotFinite) {
  for (const bool with_kernels : {false, true}) {
    std::optional<EmulatedKernels> kernels;
    if (with_kernels) kernels.emplace();
    Rig rig(far_options());
    rig.step(1);
    const std::string before = content_hash(rig.learner->save().tensors);
    rig.fake->factor = 1e30f;
    const Metrics skipped = rig.step(1);
    EXPECT_EQ(skipped.at("guards/skipped_steps").sum, 1);
    EXPECT_FALSE(skipped.contains("grad_norm"));
    EXPECT_EQ(content_hash(rig.learner->save().tensors), before);
    rig.fake->factor = 0;
    EXPECT_EQ(rig.step(1).at("guards/zero_gradient").sum, 1);
    EXPECT_EQ(content_hash(rig.learner->save().tensors), before);
    rig.fake->factor = 1;
    rig.step(1);
    EXPECT_NE(content_hash(rig.learner->save().tensors), before);
  }
}

}  // namespace
}  // namespace fulcrum
