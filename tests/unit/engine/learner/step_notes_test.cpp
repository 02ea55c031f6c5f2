#include "engine/learner/step_notes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/core/log.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Metrics with(const std::string& name, double value) {
  Metrics out;
  add_metric(out, name, value);
  return out;
}

std::string said(const std::function<void()>& note) {
  std::string out;
  const LogTee tee([&](LogLevel, std::string_view message) { out += message; });
  note();
  return out;
}

TEST(StepNotes, SamplesOfAnotherPolicyAreNamedOnceAndAgainAfterGoodOnes) {
  const Metrics strange = with("sampling/sampling_logp_difference/mean", 9.02),
                good = with("sampling/sampling_logp_difference/mean", 0.05);
  StepNotes notes;
  EXPECT_THAT(said([&] { notes.note_samples(3, good); }), IsEmpty());
  EXPECT_THAT(said([&] { notes.note_samples(4, strange); }),
              HasSubstr("step 4: the samples' log-probs differ"));
  EXPECT_THAT(said([&] { notes.note_samples(5, strange); }), IsEmpty());
  notes.note_samples(6, good);
  EXPECT_THAT(said([&] { notes.note_samples(7, strange); }), HasSubstr("by 9.02"));
}

TEST(StepNotes, AnIdleStepSaysWhyAsFarAsItIsKnown) {
  for (const auto& [share, why] : {std::pair{"fdpg/zero_z", "none meets the constraints"},
                                   {"pairs/identical", "both texts of every pair are equal"},
                                   {"loss", "no rewards"}}) {
    StepNotes notes;
    Metrics idle = with(share, 1);
    EXPECT_THAT(said([&] { notes.note_idle(1, idle); }), IsEmpty());
    add_metric(idle, "guards/zero_gradient", 1);
    EXPECT_THAT(said([&] { notes.note_idle(2, idle); }), HasSubstr(why));
    EXPECT_THAT(said([&] { notes.note_idle(3, idle); }), IsEmpty());
  }
}

}  // namespace
}  // namespace fulcrum
