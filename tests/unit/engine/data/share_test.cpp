// What ranks are dealt of a batch, and how a batch travels to them.
#include "engine/data/share.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/core/rng.h"
#include "engine/data/batch_message.h"
#include "engine/data/pack.h"

namespace fulcrum {
namespace {

TrainBatch random_batch(Rng& rng, bool pairs) {
  BatchBuilder builder;
  const auto groups = 1 + rng.below(8);
  for (uint64_t g = 0; g < groups; ++g) {
    builder.begin_group(std::vector<TokenId>(1 + rng.below(6), 5));
    const auto rows = pairs ? 2 : 1 + rng.below(5);
    for (uint64_t r = 0; r < rows; ++r) {
      const std::vector<TokenId> ids(rng.below(9), 7);
      builder.add_row(ids, {.prompt_row = static_cast<int64_t>(g)});
    }
  }
  return builder.take();
}

TEST(DealtMicroBatches, CoverEveryRowOnceWithinTheLimitAndKeepPairsTogether) {
  Rng rng(1, Purpose::kTest);
  for (int round = 0; round < 2000; ++round) {
    const bool pairs = rng.below(2) == 0;
    const TrainBatch batch = random_batch(rng, pairs);
    const int64_t limit = 1 + static_cast<int64_t>(rng.below(60)), unit = pairs ? 2 : 1;
    const auto ranks = static_cast<int64_t>(1 + rng.below(4));
    const auto dealt = deal_micro_batches(batch, limit, pairs, ranks);
    ASSERT_EQ(std::ssize(dealt), ranks);
    std::vector<int> seen(batch.rows.size(), 0);
    for (const auto& mine : dealt) {
      EXPECT_TRUE(std::ranges::is_sorted(mine, {}, &RowRange::begin));
      for (const RowRange range : mine) {
        EXPECT_EQ(range.begin % unit, 0);
        EXPECT_EQ(range_tokens(batch, range), slice(batch, range).num_tokens());
        EXPECT_TRUE(range_tokens(batch, range) <= limit || range.end - range.begin == unit);
        for (int64_t r = range.begin; r < range.end; ++r) ++seen[static_cast<size_t>(r)];
      }
    }
    EXPECT_THAT(seen, ::testing::Each(1));
  }
}

TEST(DealtMicroBatches, WithOneRankAreThoseOfOneProcess) {
  Rng rng(2, Purpose::kTest);
  const TrainBatch batch = random_batch(rng, false);
  const auto alone = micro_batches(batch, 12, false);
  const auto dealt = deal_micro_batches(batch, 12, false, 1);
  ASSERT_EQ(dealt.size(), 1u);
  ASSERT_EQ(dealt[0].size(), alone.size());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(dealt[0][i].end, alone[i].end);
}

TEST(DealtMicroBatches, AreEqualSharesOfABatchOfEqualGroups) {
  BatchBuilder builder;
  const std::vector<TokenId> prompt(3, 1), ids(7, 2);
  for (int g = 0; g < 8; ++g) {
    builder.begin_group(prompt);
    builder.add_row(ids, {});
  }
  const TrainBatch batch = builder.take();
  for (const auto& mine : deal_micro_batches(batch, 1 << 20, false, 4)) {
    int64_t tokens = 0;
    for (const RowRange range : mine) tokens += range_tokens(batch, range);
    EXPECT_EQ(tokens, 20);
  }
}

TEST(BatchMessage, BringsBackEveryBitOfABatch) {
  BatchBuilder builder;
  const std::vector<TokenId> prompt = {1, 2}, ids = {3, 4, 5};
  const std::vector<float> logps = {-0.1f, -1e-30f, -3e30f};
  builder.begin_group(prompt);
  builder.add_row(ids,
                  {.prompt_row = 7,
                   .truncated = true,
                   .rehearsal = true,
                   .has_reward = true,
                   .reward = 1.0 / 3,
                   .parts = {{"math", 0.1}, {"length", -2}}},
                  logps, logps);
  builder.add_row({}, {});
  TrainBatch batch = builder.take();
  batch.target_mask[1] = 0;
  batch.old_logps = {1, 2, 3};
  batch.reference_logps = {4, 5, 6};
  batch.old_values = {7, 8, 9};
  batch.advantages = {10, 11, 12};
  batch.returns = {13, 14, 15};
  batch.denominator = 1.0 / 7;
  batch.rehearsal_denominator = 1.0 / 11;
  batch.kl_coefficient = 0.05;
  const Json message = batch_message(batch);
  std::string bytes;
  Json::to_cbor(message, bytes);
  const auto back = read_batch_message(Json::from_cbor(bytes));
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(batch_message(*back), message);
  EXPECT_EQ(back->tokens, batch.tokens);
  EXPECT_EQ(back->positions, batch.positions);
  EXPECT_EQ(back->target_source, batch.target_source);
  EXPECT_EQ(back->target_ids, batch.target_ids);
  EXPECT_EQ(back->target_row, batch.target_row);
  EXPECT_EQ(back->target_mask, batch.target_mask);
  EXPECT_EQ(back->sampling_logps, batch.sampling_logps);
  EXPECT_EQ(back->stored_logps, batch.stored_logps);
  EXPECT_EQ(back->old_logps, batch.old_logps);
  EXPECT_EQ(back->reference_logps, batch.reference_logps);
  EXPECT_EQ(back->old_values, batch.old_values);
  EXPECT_EQ(back->advantages, batch.advantages);
  EXPECT_EQ(back->returns, batch.returns);
  EXPECT_EQ(back->denominator, batch.denominator);
  EXPECT_EQ(back->rehearsal_denominator, batch.rehearsal_denominator);
  EXPECT_EQ(back->kl_coefficient, batch.kl_coefficient);
  ASSERT_EQ(back->groups.size(), 1u);
  EXPECT_EQ(back->groups[0].prompt_end, 2);
  EXPECT_EQ(back->groups[0].row_end, 2);
  ASSERT_EQ(back->rows.size(), 2u);
  const BatchRow& row = back->rows[0];
  EXPECT_EQ(row.token_end, 5);
  EXPECT_EQ(row.target_end, 3);
  EXPECT_EQ(row.prompt_row, 7);
  EXPECT_TRUE(row.truncated && row.rehearsal && row.has_reward);
  EXPECT_EQ(row.reward, 1.0 / 3);
  EXPECT_EQ(row.parts, batch.rows[0].parts);
  EXPECT_FALSE(back->rows[1].has_reward);
}

TEST(BatchMessage, RefusesWhatIsNoBatch) {
  EXPECT_EQ(read_batch_message(Json()).status().code(), Code::kDataLoss);
  Json message = batch_message({});
  message.erase("returns");
  EXPECT_EQ(read_batch_message(message).status().code(), Code::kDataLoss);
  message = batch_message({});
  message["target_row"] = Json::binary({1, 2, 3});
  EXPECT_EQ(read_batch_message(message).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace fulcrum
