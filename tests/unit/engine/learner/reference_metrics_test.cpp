#include "engine/learner/reference_metrics.h"

#include <gtest/gtest.h>

namespace fulcrum {
namespace {

class Named final : public Reference {
 public:
  Named(int64_t version, bool soup) : version_(version), soup_(soup) {}
  Result<std::vector<float>> logps(const TrainBatch&, double, int64_t, int64_t, std::stop_token) override {
    return internal_error("not asked for here");
  }
  Status after_step(int64_t, const Policy&) override { return ok_status(); }
  int64_t version() const override { return version_; }
  const std::string& content_hash() const override { return hash_; }
  std::string origin() const override { return "a fake"; }
  bool is_soup() const override { return soup_; }
  TensorMap save() const override { return {}; }
  Status load(const TensorMap&, int64_t) override { return ok_status(); }

 private:
  int64_t version_;
  bool soup_;
  std::string hash_;
};

// Four sampled targets: two that train, one masked, one of a rehearsal row.
TrainBatch sampled_batch() {
  TrainBatch batch;
  batch.rows = {{.target_begin = 0, .target_end = 3},
                {.target_begin = 3, .target_end = 4, .rehearsal = true}};
  batch.target_row = {0, 0, 0, 1};
  batch.target_mask = {1, 1, 0, 1};
  batch.sampling_logps = {-1, -1, -1, -1};
  batch.reference_logps = {-3, -2, -90, -90};
  return batch;
}

const std::vector<float> kPolicy = {-1, -1, -1, -1};

TEST(ReferenceMetrics, MeanOverTheSampledTargetsThatTrainAndWhatWasAddedSinceTheFirstStep) {
  ObjectiveState state;
  Metrics first, second;
  TrainBatch batch = sampled_batch();
  add_reference_metrics(Named(0, true), batch, kPolicy, state, first);
  EXPECT_EQ(first["soup/kl"].mean(), 1.5);
  EXPECT_EQ(first["soup/kl_excess"].mean(), 0.0);
  EXPECT_EQ(first["ref/version"].mean(), 0.0);
  batch.reference_logps = {-3, -4, -90, -90};
  add_reference_metrics(Named(2, true), batch, kPolicy, state, second);
  EXPECT_EQ(second["soup/kl"].mean(), 2.5);
  EXPECT_EQ(second["soup/kl_excess"].mean(), 1.0);
  EXPECT_EQ(second["ref/version"].mean(), 2.0);
}

TEST(ReferenceMetrics, OfDataThatThePolicyDidNotSampleOnlyTheVersion) {
  ObjectiveState state;
  Metrics metrics;
  TrainBatch batch = sampled_batch();
  batch.sampling_logps.clear();
  add_reference_metrics(Named(1, false), batch, kPolicy, state, metrics);
  EXPECT_EQ(metrics.size(), 1u);
  EXPECT_TRUE(state.values.empty());
}

TEST(ReferenceMetrics, AMoveIsSeenBeforeAndAfterOnTheSameSamples) {
  ObjectiveState state;
  Metrics metrics;
  const TrainBatch batch = sampled_batch();
  const Named reference(1, false);
  add_reference_metrics(reference, batch, kPolicy, state, metrics);
  add_move_metrics(reference, batch, std::vector<float>{-1, -1.5, 0, 0}, metrics);
  EXPECT_EQ(metrics["ref/kl"].mean(), 1.5);
  EXPECT_EQ(metrics["ref/kl_after_move"].mean(), 0.25);
}

}  // namespace
}  // namespace fulcrum
