#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/core/rng.h"
#include "engine/data/pack.h"
#include "engine/data/slice.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Completion completion(std::vector<TokenId> ids, FinishReason finish = FinishReason::kStop) {
  Completion out;
  for (const TokenId id : ids) out.logps.push_back(-0.25f * static_cast<float>(id));
  out.ids = std::move(ids);
  out.finish = finish;
  return out;
}

RolloutGroup group(std::vector<TokenId> prompt, std::vector<Completion> completions) {
  RolloutGroup out;
  out.index = 3;
  out.prompt.row = 40;
  out.prompt.ids = std::move(prompt);
  out.completions = std::move(completions);
  return out;
}

Verdict scored(double score) { return {.score = score, .kind = VerdictKind::kScored}; }

// Groups, lengths and per-target arrays drawn at random; empty completions and empty groups among them.
TrainBatch random_batch(Rng& rng, bool pairs) {
  std::vector<RolloutGroup> groups;
  std::vector<std::vector<Verdict>> verdicts;
  for (uint64_t g = 0, n = 1 + rng.below(5); g < n; ++g) {
    std::vector<Completion> completions;
    for (uint64_t c = 0, m = pairs ? 2 : rng.below(5); c < m; ++c) {
      std::vector<TokenId> ids(rng.below(6));
      for (TokenId& id : ids) id = static_cast<TokenId>(rng.below(100));
      completions.push_back(completion(ids));
    }
    std::vector<TokenId> prompt(1 + rng.below(7));
    for (TokenId& id : prompt) id = static_cast<TokenId>(rng.below(100));
    verdicts.emplace_back(completions.size(), scored(rng.uniform()));
    groups.push_back(group(prompt, completions));
  }
  TrainBatch batch = pack_groups(groups, verdicts);
  for (int64_t i = 0; i < batch.num_targets(); ++i) {
    batch.advantages.push_back(static_cast<float>(rng.uniform()));
    batch.target_mask[static_cast<size_t>(i)] = static_cast<uint8_t>(rng.below(2));
  }
  batch.denominator = 17;
  batch.rehearsal_denominator = 5;
  return batch;
}

// What engine/types/train_batch.h promises of every batch.
void expect_layout(const TrainBatch& b) {
  int64_t token = 0, target = 0, row_index = 0;
  for (size_t g = 0; g < b.groups.size(); ++g) {
    const BatchGroup& gr = b.groups[g];
    ASSERT_EQ(gr.prompt_begin, token);
    ASSERT_GT(gr.prompt_end, gr.prompt_begin);
    for (int64_t t = gr.prompt_begin; t < gr.prompt_end; ++t)
      EXPECT_EQ(b.positions[static_cast<size_t>(t)], t - gr.prompt_begin);
    token = gr.prompt_end;
    ASSERT_EQ(gr.row_begin, row_index);
    for (; row_index < gr.row_end; ++row_index) {
      const BatchRow& row = b.rows[static_cast<size_t>(row_index)];
      EXPECT_EQ(row.group, static_cast<int64_t>(g));
      ASSERT_EQ(row.token_begin, token);
      ASSERT_EQ(row.target_begin, target);
      ASSERT_EQ(row.target_end - row.target_begin, row.token_end - row.token_begin);
      for (int64_t i = 0; i < row.token_end - row.token_begin; ++i) {
        const auto n = static_cast<size_t>(row.target_begin + i);
        const auto t = static_cast<size_t>(row.token_begin + i);
        EXPECT_EQ(b.target_source[n], i == 0 ? gr.prompt_end - 1 : static_cast<int64_t>(t) - 1);
        EXPECT_EQ(b.target_ids[n], b.tokens[t]);
        EXPECT_EQ(b.target_row[n], row_index);
        EXPECT_EQ(b.positions[t], gr.prompt_end - gr.prompt_begin + i);
      }
      token = row.token_end;
      target = row.target_end;
    }
  }
  EXPECT_EQ(token, b.num_tokens());
  EXPECT_EQ(target, b.num_targets());
  EXPECT_EQ(row_index, b.num_rows());
  EXPECT_EQ(static_cast<int64_t>(b.positions.size()), b.num_tokens());
  for (const size_t n : {b.target_source.size(), b.target_row.size(), b.target_mask.size()})
    EXPECT_EQ(static_cast<int64_t>(n), b.num_targets());
}

TEST(PackGroups, StoresThePromptOnceAndEveryTargetOnItsSource) {
  const std::vector<RolloutGroup> groups{
      group({1, 2, 3}, {completion({4, 5}), completion({}), completion({6}, FinishReason::kLength)}),
      group({7}, {completion({8})})};
  const TrainBatch batch =
      pack_groups(groups, {{scored(1), {.kind = VerdictKind::kTimeout}, scored(-0.5)}, {scored(2)}});
  expect_layout(batch);
  EXPECT_THAT(batch.tokens, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 3, 4, 3, 0, 1));
  EXPECT_THAT(batch.target_ids, ElementsAre(4, 5, 6, 8));
  EXPECT_THAT(batch.target_source, ElementsAre(2, 3, 2, 6));
  EXPECT_THAT(batch.target_row, ElementsAre(0, 0, 2, 3));
  EXPECT_THAT(batch.target_mask, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(batch.sampling_logps, ElementsAre(-1.f, -1.25f, -1.5f, -2.f));
  EXPECT_TRUE(batch.rows[0].has_reward);
  EXPECT_FALSE(batch.rows[1].has_reward);
  EXPECT_EQ(batch.rows[2].reward, -0.5);
  EXPECT_TRUE(batch.rows[2].truncated);
  EXPECT_FALSE(batch.rows[0].truncated);
  EXPECT_EQ(batch.rows[3].prompt_row, 40);
  EXPECT_TRUE(batch.stored_logps.empty());
}

TEST(PackPairs, ChosenIsTheEvenRowOverASharedPrompt) {
  const DataRow a{.prompt = {.row = 5, .ids = {1, 2}}, .completion = {3}, .rejected = {4, 5}};
  const DataRow b{.prompt = {.row = 6, .ids = {9}}, .completion = {}, .rejected = {8}};
  const std::vector<const DataRow*> rows{&a, &b};
  const TrainBatch batch = pack_rows(rows, RowFormat::kPreference);
  expect_layout(batch);
  EXPECT_EQ(batch.groups.size(), 2u);
  EXPECT_THAT(batch.tokens, ElementsAre(1, 2, 3, 4, 5, 9, 8));
  EXPECT_THAT(batch.target_source, ElementsAre(1, 1, 3, 5));
  EXPECT_EQ(batch.rows[3].prompt_row, 6);
  EXPECT_TRUE(batch.sampling_logps.empty());
}

TEST(PackCompletions, EveryTokenOfTheCompletionIsLearntAndNoneOfThePrompt) {
  const DataRow a{.prompt = {.row = 1, .ids = {1, 2}}, .completion = {3, 4}};
  const DataRow b{.prompt = {.row = 2, .ids = {5}}, .completion = {6}};
  const std::vector<const DataRow*> rows{&a, &b};
  const TrainBatch batch = pack_rows(rows, RowFormat::kCompletion);
  expect_layout(batch);
  EXPECT_THAT(batch.tokens, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(batch.target_ids, ElementsAre(3, 4, 6));
  EXPECT_FALSE(batch.rows[0].has_reward);
  EXPECT_FALSE(batch.rows[0].rehearsal);
}

TEST(BatchBuilderTest, LogProbsThatOnlySomeRowsHaveAreZeroOnTheOthers) {
  BatchBuilder builder;
  const std::vector<RolloutGroup> groups{group({1, 2}, {completion({4}), completion({})})};
  add_groups(builder, groups, {{scored(1), scored(0)}});
  const std::vector<TokenId> prompt{7}, ids{3, 5};
  const std::vector<float> stored{-1.f, -2.f};
  builder.begin_group(prompt);
  builder.add_row(ids, {.rehearsal = true}, {}, stored);
  builder.add_row(prompt, {});
  const TrainBatch batch = builder.take();
  expect_layout(batch);
  EXPECT_THAT(batch.tokens, ElementsAre(1, 2, 4, 7, 3, 5, 7));
  EXPECT_THAT(batch.sampling_logps, ElementsAre(-1.f, 0.f, 0.f, 0.f));
  EXPECT_THAT(batch.stored_logps, ElementsAre(0.f, -1.f, -2.f, 0.f));
  EXPECT_TRUE(batch.rows[2].rehearsal);
  EXPECT_FALSE(batch.rows[3].rehearsal);
  EXPECT_EQ(builder.take().num_tokens(), 0);
}

TEST(BatchBuilderTest, ARowWithTheWrongNumberOfLogProbsNeverShiftsTheNext) {
  BatchBuilder builder;
  const std::vector<TokenId> prompt{7}, ids{3, 5};
  const std::vector<float> one{-1.f}, three{-1.f, -2.f, -3.f}, right{-8.f, -9.f};
  builder.begin_group(prompt);
  builder.add_row(ids, {}, one);
  builder.add_row(ids, {}, three);
  builder.add_row(ids, {}, right);
  EXPECT_THAT(builder.take().sampling_logps, ElementsAre(-1.f, 0.f, -1.f, -2.f, -8.f, -9.f));
}

int64_t cost_of(const TrainBatch& batch, RowRange range) { return slice(batch, range).num_tokens(); }

TEST(MicroBatches, CoverAllRowsInOrderWithinTheLimit) {
  Rng rng(2, Purpose::kTest);
  for (int round = 0; round < 2000; ++round) {
    const bool pairs = rng.below(2) == 0;
    const TrainBatch batch = random_batch(rng, pairs);
    const int64_t limit = 1 + static_cast<int64_t>(rng.below(40)), unit = pairs ? 2 : 1;
    int64_t at = 0;
    for (const RowRange r : micro_batches(batch, limit, pairs)) {
      EXPECT_EQ(r.begin, at);
      ASSERT_LT(r.begin, r.end);
      EXPECT_EQ(r.begin % unit, 0);
      EXPECT_TRUE(cost_of(batch, r) <= limit || r.end - r.begin == unit);
      at = r.end;
    }
    EXPECT_EQ(at, batch.num_rows());
  }
}

TEST(TargetRanges, CoverAllRowsInOrderWithinTheLimitAndHaveTargets) {
  Rng rng(4, Purpose::kTest);
  for (int round = 0; round < 2000; ++round) {
    const bool pairs = rng.below(2) == 0;
    const TrainBatch batch = random_batch(rng, pairs);
    const int64_t limit = 1 + static_cast<int64_t>(rng.below(20)), unit = pairs ? 2 : 1;
    const auto targets = [&](int64_t begin, int64_t end) {
      return batch.rows[static_cast<size_t>(end - 1)].target_end -
             batch.rows[static_cast<size_t>(begin)].target_begin;
    };
    int64_t at = 0;
    for (const RowRange r : target_ranges(batch, limit, pairs)) {
      EXPECT_EQ(r.begin, at);
      ASSERT_LT(r.begin, r.end);
      EXPECT_EQ(r.begin % unit, 0);
      int64_t units = 0;
      for (int64_t u = r.begin; u < r.end; u += unit) units += targets(u, std::min(u + unit, r.end)) > 0;
      EXPECT_TRUE(targets(r.begin, r.end) <= limit || units == 1);
      EXPECT_TRUE(units > 0 || batch.num_targets() == 0);
      at = r.end;
    }
    EXPECT_EQ(at, batch.num_rows());
  }
  EXPECT_TRUE(target_ranges({}, 5, false).empty());
}

TEST(MicroBatches, AGroupThatFitsIsNeverCut) {
  Rng rng(3, Purpose::kTest);
  for (int round = 0; round < 2000; ++round) {
    const TrainBatch batch = random_batch(rng, false);
    const int64_t limit = 1 + static_cast<int64_t>(rng.below(40));
    for (const RowRange r : micro_batches(batch, limit, false)) {
      for (const BatchGroup& g : batch.groups) {
        const bool cut = g.row_begin < r.begin && r.begin < g.row_end;
        EXPECT_TRUE(!cut || cost_of(batch, {g.row_begin, g.row_end}) > limit);
      }
    }
  }
}

TEST(MicroBatches, TheSharedPromptIsCountedOnceARange) {
  const std::vector<RolloutGroup> groups{
      group({1, 2, 3, 4}, {completion({5, 6}), completion({7, 8}), completion({9, 9})})};
  const TrainBatch batch = pack_groups(groups, {{scored(1), scored(1), scored(1)}});
  EXPECT_EQ(micro_batches(batch, 10, false).size(), 1u);
  const auto cut = micro_batches(batch, 9, false);
  ASSERT_EQ(cut.size(), 2u);
  EXPECT_EQ(cut[0].end, 2);
  EXPECT_EQ(micro_batches(batch, 1, false).size(), 3u);
  EXPECT_TRUE(micro_batches({}, 5, false).empty());
}

TEST(MicroBatches, PairsThatStraddleGroupsStayTogether) {
  const std::vector<RolloutGroup> groups{group({1}, {completion({5})}),
                                         group({2}, {completion({6}), completion({7})}),
                                         group({3}, {completion({8})})};
  const TrainBatch batch = pack_groups(groups, {{scored(1)}, {scored(1), scored(1)}, {scored(1)}});
  const auto cut = micro_batches(batch, 1, true);
  ASSERT_EQ(cut.size(), 2u);
  EXPECT_EQ(cut[0].end, 2);
  EXPECT_EQ(cut[1].end, 4);
}

TEST(Slice, IsABatchOfItsOwnAndSlicesTogetherGiveBackAllTargets) {
  Rng rng(4, Purpose::kTest);
  for (int round = 0; round < 1000; ++round) {
    const TrainBatch batch = random_batch(rng, false);
    std::vector<uint8_t> mask;
    std::vector<float> advantages, sampling;
    std::vector<TokenId> ids, sources;
    for (const RowRange r : micro_batches(batch, 1 + static_cast<int64_t>(rng.below(30)), false)) {
      const TrainBatch part = slice(batch, r);
      expect_layout(part);
      EXPECT_EQ(part.num_rows(), r.end - r.begin);
      EXPECT_EQ(part.denominator, 17);
      EXPECT_EQ(part.rehearsal_denominator, 5);
      EXPECT_EQ(part.rows[0].reward, batch.rows[static_cast<size_t>(r.begin)].reward);
      EXPECT_TRUE(part.old_logps.empty());
      mask.insert(mask.end(), part.target_mask.begin(), part.target_mask.end());
      advantages.insert(advantages.end(), part.advantages.begin(), part.advantages.end());
      sampling.insert(sampling.end(), part.sampling_logps.begin(), part.sampling_logps.end());
      ids.insert(ids.end(), part.target_ids.begin(), part.target_ids.end());
      for (const int64_t s : part.target_source) sources.push_back(part.tokens[static_cast<size_t>(s)]);
    }
    EXPECT_EQ(ids, batch.target_ids);
    EXPECT_EQ(sampling, batch.sampling_logps);
    EXPECT_EQ(mask, batch.target_mask);
    EXPECT_EQ(advantages, batch.advantages);
    std::vector<TokenId> expected;
    for (const int64_t s : batch.target_source) expected.push_back(batch.tokens[static_cast<size_t>(s)]);
    EXPECT_EQ(sources, expected);
  }
}

TEST(Gather, OfGroupsIsTheirSlicesOneAfterTheOther) {
  Rng rng(5, Purpose::kTest);
  for (int round = 0; round < 1000; ++round) {
    const TrainBatch batch = random_batch(rng, false);
    std::vector<int64_t> groups = rng.permutation(std::ssize(batch.groups));
    groups.resize(rng.below(groups.size() + 1));
    const TrainBatch got = gather(batch, groups);
    expect_layout(got);
    EXPECT_EQ(got.denominator, batch.denominator);
    std::vector<uint8_t> mask;
    std::vector<float> advantages, sampling;
    std::vector<TokenId> tokens;
    std::vector<double> rewards, got_rewards;
    for (const int64_t g : groups) {
      const BatchGroup& one = batch.groups[static_cast<size_t>(g)];
      const TrainBatch part = slice(batch, {one.row_begin, one.row_end});
      tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
      mask.insert(mask.end(), part.target_mask.begin(), part.target_mask.end());
      advantages.insert(advantages.end(), part.advantages.begin(), part.advantages.end());
      sampling.insert(sampling.end(), part.sampling_logps.begin(), part.sampling_logps.end());
      for (const BatchRow& row : part.rows) rewards.push_back(row.reward);
    }
    for (const BatchRow& row : got.rows) got_rewards.push_back(row.reward);
    EXPECT_EQ(got.tokens, tokens);
    EXPECT_EQ(got.target_mask, mask);
    EXPECT_EQ(got.advantages, advantages);
    EXPECT_EQ(got.sampling_logps, sampling);
    EXPECT_EQ(got_rewards, rewards);
  }
}

}  // namespace
}  // namespace fulcrum
