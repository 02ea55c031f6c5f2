// Stops that come in the middle of a step, and generation that is as slow as the staleness allows.
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "engine/pipeline/weight_history.h"
#include "policy/weights/safetensors.h"
#include "tests/parity/parity_testing.h"

namespace fulcrum::testing {
namespace {

// Calls `before` with each batch of requests, then generates.
class Watched final : public RolloutClient {
 public:
  using Before = std::function<void(const RolloutRequest& first, std::stop_token stop)>;
  Watched(std::shared_ptr<RolloutClient> rollouts, Before before)
      : rollouts_(std::move(rollouts)), before_(std::move(before)) {}
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests, PolicyVersion version,
                                             std::stop_token stop) override {
    before_(requests[0], stop);
    return rollouts_->generate(requests, version, stop);
  }

 private:
  std::shared_ptr<RolloutClient> rollouts_;
  Before before_;
};

// A stop request as soon as a batch of requests is to be generated that `where` picks.
Disturbance stop_where(std::function<bool(const RolloutRequest&)> where) {
  return {.stop_after = {},
          .stop_in_stage = false,
          .reason = unavailable("interrupted"),
          .rollouts = [where](RolloutBackend backend, LocalJobControl& control) {
            const auto before = [where, &control](const RolloutRequest& request, const std::stop_token&) {
              if (where(request)) control.request_stop(unavailable("interrupted"));
            };
            backend.rollouts = std::make_shared<Watched>(std::move(backend.rollouts), before);
            return backend;
          }};
}

// The evaluation after step `step` has coordinate step + 1.
bool evaluates(const RolloutRequest& request, int64_t step) {
  return request.evaluation && request.step == step + 1;
}

JobConfig evaluated(const Lab& lab, int64_t staleness) {
  return lab.job("grpo", {{"eval_steps", 3},
                          {"eval_num_generations", 2},
                          {"eval_k", {1}},
                          {"save_steps", 2},
                          {"max_staleness", staleness}});
}

TEST(Interrupted, AnEvaluationThatWasStoppedIsDoneAgainAndItsStepIsRecorded) {
  for (const int64_t staleness : {0, 2}) {
    Lab lab;
    const JobConfig job = evaluated(lab, staleness);
    lab.run_whole(job, "straight");
    for (const int64_t step : {3, 6}) {
      const std::string name = "stopped" + std::to_string(step);
      const auto at = stop_where([&](const RolloutRequest& r) { return evaluates(r, step); });
      ASSERT_EQ(lab.run(job, name, at).code(), Code::kUnavailable);
      EXPECT_EQ(lab.metrics(name).size(), static_cast<size_t>(step - 1)) << "the step is not finished";
      EXPECT_TRUE(std::filesystem::exists(lab.checkpoint(name, step))) << "but its update is kept";
      ASSERT_EQ(lab.run(job, name, at).code(), Code::kUnavailable) << "stopped there once more";
      lab.run_whole(job, name);
      lab.expect_same_runs(job, "straight", name);
    }
  }
}

TEST(Interrupted, AStepThatWasFinishedAfterAStopIsFinishedAgainAfterAKill) {
  Lab lab;
  const JobConfig job = evaluated(lab, 0);
  lab.run_whole(job, "straight");
  ASSERT_EQ(lab.run(job, "killed", stop_where([](const auto& r) { return evaluates(r, 3); })).code(),
            Code::kUnavailable);
  ASSERT_EQ(lab.run(job, "killed", {.stop_after = 5}).code(), Code::kUnavailable);
  for (const int64_t lost : {4, 5}) std::filesystem::remove_all(lab.checkpoint("killed", lost));
  lab.run_whole(job, "killed");
  lab.expect_same_runs(job, "straight", "killed");
}

TEST(Interrupted, AGenerationThatWasStoppedIsDoneAgain) {
  for (const int64_t staleness : {0, 1, 2}) {
    Lab lab;
    const JobConfig job = evaluated(lab, staleness);
    lab.run_whole(job, "straight");
    ASSERT_EQ(lab.run(job, "stopped", stop_where([](const auto& r) { return !r.evaluation && r.step == 4; }))
                  .code(),
              Code::kUnavailable);
    lab.run_whole(job, "stopped");
    lab.expect_same_runs(job, "straight", "stopped");
  }
}

// The older versions that a step of the resumed run asks for are those that were published, rounded.
TEST(Interrupted, ABf16JobGoesOnWithTheVersionsItPublished) {
  for (const int64_t staleness : {0, 2}) {
    Lab lab;
    const JobConfig job =
        lab.job("grpo", {{"max_staleness", staleness}, {"rollout_dtype", "bfloat16"}, {"save_steps", 2}});
    lab.run_whole(job, "straight");
    ASSERT_EQ(lab.run(job, "stopped", {.stop_after = 4}).code(), Code::kUnavailable);
    if (staleness > 0) {
      const auto kept = read_safetensors(lab.checkpoint("stopped", 4) / "stale" / "version-3.safetensors");
      ASSERT_TRUE(kept.ok()) << kept.status().message();
      for (const auto& [name, tensor] : kept->tensors) EXPECT_EQ(tensor.dtype, DType::kBF16) << name;
    }
    lab.run_whole(job, "stopped");
    lab.expect_same_runs(job, "straight", "stopped");
  }
}

// Holds the generation of step s back until version s is published: the latest moment there is.
class Latest final : public WeightPublisher {
 public:
  explicit Latest(std::shared_ptr<WeightPublisher> publisher) : publisher_(std::move(publisher)) {}
  Status publish(std::shared_ptr<const WeightSet> weights) override {
    const int64_t step = weights->version.step;
    const Status status = publisher_->publish(std::move(weights));
    const std::lock_guard lock(mutex_);
    newest_ = step;
    changed_.notify_all();
    return status;
  }
  void wait_for(int64_t version, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return newest_ >= version; });
  }

 private:
  std::shared_ptr<WeightPublisher> publisher_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t newest_ = -1;
};

TEST(Staleness, TheSlowestGenerationStillFindsItsWeightsAndGivesTheSameBits) {
  for (const int64_t staleness : {1, 2, 5}) {
    Lab lab;
    const JobConfig job = lab.job("grpo", {{"max_staleness", staleness}});
    lab.run_whole(job, "fast");
    Disturbance slow;
    slow.rollouts = [](RolloutBackend backend, LocalJobControl&) {
      const auto latest = std::make_shared<Latest>(backend.publisher);
      backend.publisher = latest;
      backend.rollouts = std::make_shared<Watched>(
          backend.rollouts, [latest](const RolloutRequest& request, const std::stop_token& stop) {
            latest->wait_for(request.step, stop);
          });
      return backend;
    };
    const Status status = lab.run(job, "slow", slow);
    ASSERT_TRUE(status.ok()) << status.message();
    lab.expect_same_runs(job, "fast", "slow");
  }
}

TEST(Staleness, ACheckpointWithoutTheOlderWeightsIsRefusedInWords) {
  Lab lab;
  const JobConfig job = lab.job("grpo", {{"max_staleness", 2}});
  ASSERT_EQ(lab.run(job, "run", {.stop_after = 4}).code(), Code::kUnavailable);
  for (const char* kept : {"stale/version-2.safetensors", "stale/version-3.safetensors"})
    EXPECT_TRUE(std::filesystem::exists(lab.checkpoint("run", 4) / kept)) << kept;
  EXPECT_FALSE(std::filesystem::exists(lab.checkpoint("run", 4) / "stale/version-1.safetensors"));
  WeightHistory history(3);  // would need version 1, too
  const Status status = history.load(lab.checkpoint("run", 4), 4, 0, {});
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("version-1.safetensors"), std::string::npos) << status.message();
}

// A client that fails when it is called twice at a time, as a fleet does.
TEST(Staleness, AnEvaluationNeverGeneratesBesideTheStepsAhead) {
  Lab lab;
  const JobConfig job = lab.job(
      "grpo", {{"eval_steps", 1}, {"eval_num_generations", 4}, {"eval_k", {1}}, {"max_staleness", 2}});
  class Single final : public RolloutClient {
   public:
    explicit Single(std::shared_ptr<RolloutClient> rollouts) : rollouts_(std::move(rollouts)) {}
    Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests,
                                               PolicyVersion version, std::stop_token stop) override {
      if (busy_.exchange(true)) return failed_precondition("a batch of rollouts is at work already");
      auto groups = rollouts_->generate(requests, version, std::move(stop));
      busy_ = false;
      return groups;
    }

   private:
    std::shared_ptr<RolloutClient> rollouts_;
    std::atomic<bool> busy_ = false;
  };
  Disturbance single;
  single.rollouts = [](RolloutBackend backend, LocalJobControl&) {
    backend.rollouts = std::make_shared<Single>(std::move(backend.rollouts));
    return backend;
  };
  const Status status = lab.run(job, "run", single);
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace fulcrum::testing
