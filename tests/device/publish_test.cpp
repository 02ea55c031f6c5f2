// Whole jobs that learn on another device than the CPU and generate in bf16, with a worker that fetches every
// version over gRPC: what it holds is what the checkpoint of that step holds, rounded.
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "engine/publish/flat_weights.h"
#include "tests/device/emulated_kernels.h"
#include "tests/parity/parity_testing.h"
#include "tests/support/far_device.h"
#include "tests/unit/rollout/rpc/fleet_harness.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

// The versions of one run as they came to a worker.
struct Seen {
  std::map<int64_t, std::string> hashes;  // of the worker's tensors, by step
  std::map<int64_t, int64_t> read_bytes;  // from the device
  std::map<int64_t, bool> as_changes;
  int64_t spoil = -1;  // a bit of the host's copy of this version, once it was published
};

// Gives each version to the job's own rollouts, and to a worker of a fleet, which fetches it.
class BesideAWorker final : public WeightPublisher {
 public:
  BesideAWorker(std::shared_ptr<WeightPublisher> own, std::shared_ptr<GrpcRollout> fleet, FakeModels& models,
                Seen& seen)
      : own_(std::move(own)), fleet_(std::move(fleet)), models_(models), seen_(seen) {}

  Status publish(std::shared_ptr<const WeightSet> weights) override {
    TRY_DO(own_->publish(weights));
    TRY_DO(fleet_->publish(weights));
    const auto made = fleet_->generate(requests(1), weights->version, {});
    if (!made.ok()) return made.status();
    const int64_t step = weights->version.step;
    seen_.hashes[step] = models_.weights_hash;
    if (weights->flat == nullptr) return ok_status();
    seen_.read_bytes[step] = weights->flat->read_bytes;
    seen_.as_changes[step] = weights->flat->change.has_value();
    if (step == seen_.spoil) {
      const auto bytes = weights->tensors.at("model.embed_tokens.weight").bytes;
      const_cast<std::byte&>(bytes[2 * 77]) ^= std::byte{1};
    }
    return ok_status();
  }

 private:
  std::shared_ptr<WeightPublisher> own_;
  std::shared_ptr<GrpcRollout> fleet_;
  FakeModels& models_;
  Seen& seen_;
};

class DevicePublish : public ::testing::TestWithParam<bool> {
 protected:
  DevicePublish() {
    if (GetParam()) kernels_.emplace();
    options_.dtype = DType::kBF16;
    options_.fingerprint = "bf16 bits";
    options_.kept_versions = 3;
  }

  JobConfig job(int64_t staleness, double learning_rate) const {
    JobConfig out = lab_.job("grpo", {{"max_steps", 4},
                                      {"save_steps", 1},
                                      {"learning_rate", learning_rate},
                                      {"max_staleness", staleness},
                                      {"rollout_dtype", "bfloat16"}});
    out.learner.device = far_device().str();
    return out;
  }

  void run(const JobConfig& config, const std::string& name, const Disturbance& how) const {
    const Status status = lab_.run(config, name, how);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  // In the run folder's config, whose keys are checked when it is read again; the far device is none of
  // theirs.
  void name_a_known_device(const std::string& run) const {
    Json config = parse_json(lab_.file(run, "config.json")).value();
    config["device"] = "cpu";
    ASSERT_TRUE(write_file_atomic(lab_.path(run) / "config.json", dump_json(config)).ok());
  }
  Disturbance seen_by(Seen& seen) {
    Disturbance how;
    how.rollouts = [&](RolloutBackend backend, LocalJobControl&) {
      auto fleet = learner_.fleet.begin_job(options_).value();
      backend.publisher = std::make_shared<BesideAWorker>(backend.publisher, std::move(fleet), models_, seen);
      return backend;
    };
    return how;
  }

  // Of the model that a run's checkpoint of that step holds.
  std::string rounded(const std::string& run, int64_t step) const {
    const Path folder = step == 0 ? lab_.path("model") : lab_.checkpoint(run, step);
    return content_hash(flatten_to_bf16(load_model(folder).value().tensors).value().tensors);
  }
  void expect_the_checkpoints(const std::string& run, const Seen& seen, int64_t first) const {
    ASSERT_FALSE(seen.hashes.empty());
    EXPECT_EQ(seen.hashes.begin()->first, first);
    EXPECT_EQ(seen.hashes.rbegin()->first, 4);
    for (const auto& [step, hash] : seen.hashes) EXPECT_EQ(hash, rounded(run, step)) << run << ", " << step;
  }

  Lab lab_;
  std::optional<EmulatedKernels> kernels_;
  FleetJobOptions options_ = job_options();
  fulcrum::testing::Learner learner_;
  FakeModels models_;
  RunningWorker worker_{models_, worker_options(learner_.server->address())};
};
INSTANTIATE_TEST_SUITE_P(Both, DevicePublish, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "kernels" : "plainly"; });

TEST_P(DevicePublish, GivesWorkersTheWeightsOfEveryCheckpoint) {
  Seen few, many;
  run(job(0, 1e-6), "few", seen_by(few));
  run(job(0, 0.01), "many", seen_by(many));
  expect_the_checkpoints("few", few, 0);
  expect_the_checkpoints("many", many, 0);
  EXPECT_NE(few.hashes.at(1), few.hashes.at(2));
  for (int64_t step = 0; step <= 4; ++step) {
    EXPECT_EQ(few.as_changes.at(step), GetParam() && step > 0) << step;
    EXPECT_FALSE(many.as_changes.at(step)) << step;
  }
  if (!GetParam()) return;
  for (int64_t step = 1; step <= 4; ++step) {
    EXPECT_LT(few.read_bytes.at(step), 4000) << "of a model of thousands of weights";
    EXPECT_GT(many.read_bytes.at(step), kFlatMultiple);
  }
}

TEST_P(DevicePublish, EndsTheJobWhereTheHostsCopyHasGoneWrongBeforeAnybodyGetsTheNext) {
  Seen seen{.spoil = 2};
  const Status status = lab_.run(job(0, 1e-6), "spoilt", seen_by(seen));
  if (!GetParam()) {
    EXPECT_TRUE(status.ok()) << "no copy is kept: " << status.message();
    return;
  }
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("tensor 'model.embed_tokens.weight'"), std::string::npos)
      << status.message();
  EXPECT_EQ(seen.hashes.rbegin()->first, 2) << "version 3 went to nobody";
}

TEST_P(DevicePublish, BeginsAnewWhereARunIsResumed) {
  for (const int64_t staleness : {0, 1}) {
    const std::string name = "stale" + std::to_string(staleness);
    Seen before, after;
    Disturbance how = seen_by(before);
    how.stop_after = 2;
    ASSERT_EQ(lab_.run(job(staleness, 1e-6), name, how).code(), Code::kUnavailable);
    name_a_known_device(name);
    run(job(staleness, 1e-6), name, seen_by(after));
    expect_the_checkpoints(name, after, 2 - staleness);
    EXPECT_FALSE(after.as_changes.at(2));
    EXPECT_EQ(after.as_changes.at(3), GetParam());
  }
}

}  // namespace
}  // namespace fulcrum
