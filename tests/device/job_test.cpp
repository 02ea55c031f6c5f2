// Whole jobs whose learner lies on another device than the CPU, with our kernels and without: every
// trainer runs there, and its numbers are those of the CPU within rounding.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "engine/objective/config/trainers.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/plan/memory.h"
#include "policy/text/model_tokenizer.h"
#include "tests/device/emulated_kernels.h"
#include "tests/parity/parity_testing.h"
#include "tests/support/far_device.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;

Json keys_of(const std::string& trainer) {
  if (trainer == "dph_rl")
    return {{"reward_funcs", {{{"name", "length"}, {"target", 4}}}},
            {"presample", {{"k", 2}, {"threshold", 1}, {"rehearsal_per_step", 2}}}};
  if (trainer.ends_with("dpg")) {
    const double moment = trainer == "f_dpg" ? 0.5 : 1;
    return {{"reward_funcs", {{{"name", "regex"}, {"pattern", "[0-4]"}}}},
            {"f_dpg", {{"constraints", {{{"feature", "regex"}, {"moment", moment}}}}}}};
  }
  if (trainer_rows(trainer) == RowFormat::kPrompt)
    return {{"reward_funcs", {{{"name", "length"}, {"target", 4}}}}};
  return Json::object();
}

// Of the device's memory, in bytes.
int64_t planned(const JobConfig& job) {
  const Model model = load_model(job.model_name_or_path).value();
  const auto tokenizer = load_tokenizer_of(model, job.tokenizer, {.splitter = job.splitter}).value();
  const Dataset data = Dataset::open(train_data(job), *tokenizer, model.spec.vocab_size).value();
  const Needs needs = make_objective(job.objective).value()->needs();
  Workload work =
      workload_of(job, model.spec, needs, largest_step(job, data), job.sampling.max_completion_length);
  work.on_device = true;
  return plan_memory(work, {}).device.bytes;
}

class EveryTrainer : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  static std::string trainer() { return std::get<0>(GetParam()); }
};

TEST_P(EveryTrainer, LearnsOffTheCpuWhatItLearnsOnIt) {
  const Lab lab;
  Json keys = keys_of(trainer());
  keys["max_steps"] = 3;
  // Rollouts that rounding cannot change: the same policy draws them in every step.
  keys["learning_rate"] = 1e-4;
  JobConfig job = lab.job(trainer(), keys);
  lab.run_whole(job, "here");
  job.learner.device = far_device().str();
  std::optional<EmulatedKernels> all;
  if (std::get<1>(GetParam())) all.emplace();
  const int64_t before = far_operations();
  lab.run_whole(job, "there");
  EXPECT_GT(far_operations(), before + 100);
  expect_near_metrics(lab.metrics("here"), lab.metrics("there"));
}

// The message says what was planned and which keys to change; the run folder keeps what was done.
TEST(DeviceJob, MemoryThatIsNotEnoughIsSaidWithThePlan) {
  const Lab lab;
  JobConfig job = lab.job("sft", {{"max_steps", 2}});
  job.learner.device = far_device().str();
  take_far_peak();
  lab.run_whole(job, "whole");
  const int64_t peak = take_far_peak();
  const FarLimit limit(peak - peak / 20);
  const Status status = lab.run(job, "short");
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(status.message(),
              ::testing::AllOf(::testing::HasSubstr("the device's memory is not enough: far out of memory"),
                               ::testing::HasSubstr("the plan of this job has"),
                               ::testing::HasSubstr("change max_tokens_per_micro_batch"),
                               ::testing::Not(::testing::HasSubstr("reserved"))));
}

// The same of the job's other parts: whoever lacks memory says it, run_job() adds the plan.
class NoMemory final : public RolloutClient, public WeightPublisher {
 public:
  NoMemory(RolloutBackend inner, Status publishing, Status generating)
      : inner_(std::move(inner)), publishing_(std::move(publishing)), generating_(std::move(generating)) {}
  Status publish(std::shared_ptr<const WeightSet> weights) override {
    return publishing_.ok() ? inner_.publisher->publish(std::move(weights)) : publishing_;
  }
  Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest>, PolicyVersion,
                                             std::stop_token) override {
    return generating_;
  }

 private:
  RolloutBackend inner_;
  Status publishing_, generating_;
};

TEST(DeviceJob, PublishingGeneratingAndMakingTheLearnerSayThePlanToo) {
  const Lab lab;
  JobConfig job = lab.job("grpo", {{"max_steps", 2}});
  job.learner.device = far_device().str();
  const auto message = [&](const Status& publishing, const Status& generating, bool on_device) {
    static int runs = 0;
    Disturbance how;
    how.rollouts = [&](RolloutBackend inner, LocalJobControl&) {
      auto broken = std::make_shared<NoMemory>(std::move(inner), publishing, generating);
      return RolloutBackend{.rollouts = broken, .publisher = broken, .on_device = on_device};
    };
    const Status status = lab.run(job, "short" + std::to_string(++runs), how);
    EXPECT_EQ(status.code(), Code::kResourceExhausted);
    return status.message();
  };
  const Status device = resource_exhausted("the accelerator: no 3 MiB of its memory: out of memory"),
               host = resource_exhausted("not enough memory for 12 sequences");
  using ::testing::AllOf, ::testing::HasSubstr, ::testing::Not;
  const auto plan = HasSubstr("the plan of this job has");
  const std::string publish = message(device, ok_status(), true),
                    generate = message(ok_status(), device, true),
                    on_host = message(ok_status(), host, false);
  EXPECT_THAT(publish, AllOf(HasSubstr(device.message()), plan, HasSubstr("change ")));
  EXPECT_THAT(generate, AllOf(HasSubstr(device.message()), plan, HasSubstr("change ")));
  EXPECT_THAT(on_host, AllOf(HasSubstr(host.message()), plan));
  EXPECT_NE(generate.substr(generate.find("the plan")), on_host.substr(on_host.find("the plan")))
      << "the one is the device's, the other the host's";
  EXPECT_THAT(message(ok_status(), resource_exhausted("the judge is busy"), false), Not(plan));

  const FarLimit limit(1000);
  const Status making = lab.run(job, "unmade");
  EXPECT_EQ(making.code(), Code::kResourceExhausted);
  EXPECT_THAT(making.message(), AllOf(HasSubstr("the device's memory is not enough"), plan));
}

// What the plan counts on the device is what is there; nothing else keeps memory in a tiny model.
TEST(DeviceJob, ThePlanKnowsTheDevicesMemory) {
  const Lab lab;
  const EmulatedKernels kernels;
  for (const std::string dtype : {"float32", "bfloat16"})
    for (const std::string trainer : {"dpo", "tdpo"}) {
      JobConfig job = lab.job(trainer, {{"max_steps", 1}, {"prompts_per_step", 32}, {"dtype", dtype}});
      job.learner.device = far_device().str();
      take_far_peak();
      lab.run_whole(job, trainer + dtype);
      const double real = static_cast<double>(take_far_peak()),
                   planned = static_cast<double>(fulcrum::planned(job));
      EXPECT_NEAR(planned / real, 1, 0.2)
          << trainer << " " << dtype << ": " << planned << " planned, " << real << " in truth";
    }
}

INSTANTIATE_TEST_SUITE_P(Plainly, EveryTrainer,
                         ::testing::Combine(::testing::ValuesIn(trainer_names()), ::testing::Values(false)),
                         [](const auto& test) { return std::get<0>(test.param); });
// Those that between them call every kernel: the emulation takes its time.
INSTANTIATE_TEST_SUITE_P(ByKernels, EveryTrainer,
                         ::testing::Combine(::testing::Values("grpo", "tdpo", "ppo", "reward"),
                                            ::testing::Values(true)),
                         [](const auto& test) { return std::get<0>(test.param); });

}  // namespace
}  // namespace fulcrum
