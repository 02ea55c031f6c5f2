// Whole jobs whose learner lies on another device than the CPU, with our kernels and without: every
// trainer runs there, and its numbers are those of the CPU within rounding.
#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "engine/objective/config/trainers.h"
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

INSTANTIATE_TEST_SUITE_P(Table, EveryTrainer,
                         ::testing::Combine(::testing::ValuesIn(trainer_names()), ::testing::Bool()),
                         [](const auto& test) {
                           return std::get<0>(test.param) +
                                  (std::get<1>(test.param) ? "_by_kernels" : "_plainly");
                         });

}  // namespace
}  // namespace fulcrum
