#include "engine/pipeline/partition.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/pipeline/dynamic_sampling.h"
#include "engine/pipeline/staleness.h"

namespace fulcrum {
namespace {

using Flags = std::vector<uint8_t>;

TEST(Partition, APromptIsNearPerfectOnlyWithAFreshCorrectSample) {
  const PartitionRule rule{.k = 4, .threshold = 3};
  const Flags good = {1, 1, 1, 0};
  EXPECT_TRUE(is_candidate(rule, good));
  EXPECT_EQ(label_prompt(rule, good, true), PromptLabel::kPef);
  EXPECT_EQ(label_prompt(rule, good, false), PromptLabel::kExp);
  EXPECT_EQ(label_prompt({.k = 4, .threshold = 3, .drop_on_extra_fail = true}, good, false),
            PromptLabel::kDrop);
}

TEST(Partition, OnlyTheFirstKSamplesCount) {
  const PartitionRule rule{.k = 2, .threshold = 2};
  EXPECT_FALSE(is_candidate(rule, Flags{1, 0, 1, 1}));
  EXPECT_TRUE(is_candidate(rule, Flags{1, 1, 0, 0}));
}

TEST(Partition, APromptWithTooFewJudgedSamplesIsIncompleteHoweverGoodTheyAre) {
  const PartitionRule rule{.k = 4, .threshold = 2};
  EXPECT_EQ(label_prompt(rule, Flags{1, 1, 1}, true), PromptLabel::kIncomplete);
  EXPECT_EQ(label_prompt(rule, {}, true), PromptLabel::kIncomplete);
}

TEST(Partition, AllWrongPromptsAreExploredUnlessTheyAreToBeDropped) {
  EXPECT_EQ(label_prompt({.k = 2, .threshold = 2}, Flags{0, 0}, false), PromptLabel::kExp);
  EXPECT_EQ(label_prompt({.k = 2, .threshold = 2, .drop_all_wrong = true}, Flags{0, 0}, false),
            PromptLabel::kDrop);
}

TEST(Partition, TheShareOfNoPromptsIsZero) { EXPECT_EQ(pef_share({}), 0); }

TEST(Partition, EveryLabelReadsBackFromItsName) {
  for (const PromptLabel label :
       {PromptLabel::kPef, PromptLabel::kExp, PromptLabel::kDrop, PromptLabel::kIncomplete})
    EXPECT_EQ(*parse_label(label_name(label)), label);
  EXPECT_FALSE(parse_label("mastered").ok());
}

TEST(DynamicSampling, AGroupThatTeachesNothingIsLeftOut) {
  const std::vector<double> metric = {1, 1, 1, 0, 0, 0};
  const std::vector<int64_t> group = {0, 0, 1, 1, 2, 2};
  const SampledGroups got = dynamic_sampling({}, metric, group, 2, 1);
  EXPECT_EQ(got.groups, (std::vector<int64_t>{1}));
  EXPECT_EQ(got.rows, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(got.enough);
}

TEST(DynamicSampling, RowsBeyondTheTargetAreCutAndWithTooFewNothingIs) {
  const std::vector<double> metric = {1, 0, 1, 0};
  const std::vector<int64_t> group = {0, 0, 1, 1};
  EXPECT_EQ(dynamic_sampling({}, metric, group, 2, 1).rows, (std::vector<int64_t>{0, 1}));
  const SampledGroups few = dynamic_sampling({}, metric, group, 2, 3);
  EXPECT_FALSE(few.enough);
  EXPECT_EQ(few.rows.size(), 4u);
}

TEST(RolloutCapacity, OfASynchronousRunIsOneBatchAVersion) {
  EXPECT_EQ(rollout_capacity({.version = 0}, 1000, 64, 0), 64);
  EXPECT_EQ(rollout_capacity({.version = 0, .accepted = 64}, 1000, 64, 0), 0);
  EXPECT_EQ(rollout_capacity({.version = 1, .accepted = 64}, 1000, 64, 0), 64);
}

}  // namespace
}  // namespace fulcrum
