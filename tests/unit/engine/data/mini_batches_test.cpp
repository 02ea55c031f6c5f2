#include "engine/data/mini_batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/data/pack.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using Hands = std::vector<std::vector<int64_t>>;

// Groups of one to three rows, the rehearsed ones last.
TrainBatch batch_of(int64_t exploration, int64_t rehearsal) {
  BatchBuilder builder;
  const std::vector<TokenId> prompt{7}, ids{3, 5};
  for (int64_t g = 0; g < exploration + rehearsal; ++g) {
    builder.begin_group(prompt);
    for (int64_t r = 0; r <= g % 3; ++r) builder.add_row(ids, {.rehearsal = g >= exploration});
  }
  return builder.take();
}

std::pair<int64_t, int64_t> counts(const std::vector<int64_t>& hand, int64_t exploration) {
  const int64_t first = std::count_if(hand.begin(), hand.end(), [&](int64_t g) { return g < exploration; });
  return {first, std::ssize(hand) - first};
}

TEST(DealGroups, DealsEveryGroupOnceAndBothKindsEvenly) {
  Rng rng(1, Purpose::kTest);
  for (int round = 0; round < 2000; ++round) {
    const auto exploration = static_cast<int64_t>(1 + rng.below(12));
    const auto rehearsal = static_cast<int64_t>(rng.below(9));
    const auto wanted = static_cast<int64_t>(1 + rng.below(5));
    const TrainBatch batch = batch_of(exploration, rehearsal);
    const Hands hands = deal_groups(batch, wanted, rng);
    ASSERT_EQ(std::ssize(hands), std::min(wanted, exploration));
    std::vector<int64_t> all, first, second, sizes;
    for (const std::vector<int64_t>& hand : hands) {
      EXPECT_TRUE(std::is_sorted(hand.begin(), hand.end()));
      all.insert(all.end(), hand.begin(), hand.end());
      first.push_back(counts(hand, exploration).first);
      second.push_back(counts(hand, exploration).second);
      sizes.push_back(std::ssize(hand));
    }
    std::sort(all.begin(), all.end());
    ASSERT_EQ(std::ssize(all), exploration + rehearsal);
    for (int64_t g = 0; g < std::ssize(all); ++g) EXPECT_EQ(all[static_cast<size_t>(g)], g);
    for (const auto& share : {first, second, sizes}) {
      const auto [least, most] = std::minmax_element(share.begin(), share.end());
      EXPECT_LE(*most - *least, 1);
    }
    EXPECT_GE(*std::min_element(first.begin(), first.end()), 1) << "none rehearses only";
  }
}

TEST(DealGroups, TheStreamDecidesTheOrder) {
  const TrainBatch batch = batch_of(16, 8);
  const auto deal = [&](uint64_t step, uint64_t iteration) {
    Rng rng(3, Purpose::kMiniBatches, {step, iteration});
    return deal_groups(batch, 4, rng);
  };
  EXPECT_EQ(deal(5, 1), deal(5, 1));
  EXPECT_NE(deal(5, 1), deal(5, 2));
  EXPECT_NE(deal(5, 1), deal(6, 1));
}

TEST(DealGroups, OneMinibatchIsTheWholeBatchInItsOrder) {
  Rng rng(1, Purpose::kTest);
  EXPECT_THAT(deal_groups(batch_of(3, 2), 1, rng), ElementsAre(ElementsAre(0, 1, 2, 3, 4)));
}

TEST(DealGroups, AGroupWithoutRowsIsInNone) {
  BatchBuilder builder;
  const std::vector<TokenId> prompt{7}, ids{3};
  builder.begin_group(prompt);
  builder.begin_group(prompt);
  builder.add_row(ids, {});
  Rng rng(1, Purpose::kTest);
  EXPECT_THAT(deal_groups(builder.take(), 2, rng), ElementsAre(ElementsAre(1)));
}

TEST(DealGroups, WithoutExplorationEverythingIsOneMinibatch) {
  Rng rng(1, Purpose::kTest);
  EXPECT_THAT(deal_groups(batch_of(0, 3), 2, rng), ElementsAre(ElementsAre(0, 1, 2)));
}

}  // namespace
}  // namespace fulcrum
