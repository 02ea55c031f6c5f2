#include "engine/data/pack.h"

#include <optional>
#include <utility>

namespace fulcrum {
namespace {

// Puts a row's values into an array that is as long as the targets, or empty as long as no row has values.
void put(std::vector<float>& array, std::span<const float> values, const BatchRow& row) {
  if (values.empty() && array.empty()) return;
  array.resize(static_cast<size_t>(row.target_begin));
  array.insert(array.end(), values.begin(), values.end());
  array.resize(static_cast<size_t>(row.target_end));
}

}  // namespace

void BatchBuilder::begin_group(std::span<const TokenId> prompt) {
  BatchGroup group;
  group.prompt_begin = batch_.num_tokens();
  group.prompt_end = group.prompt_begin + static_cast<int64_t>(prompt.size());
  group.row_begin = group.row_end = batch_.num_rows();
  batch_.tokens.insert(batch_.tokens.end(), prompt.begin(), prompt.end());
  for (size_t i = 0; i < prompt.size(); ++i) batch_.positions.push_back(static_cast<int64_t>(i));
  batch_.groups.push_back(group);
}

void BatchBuilder::add_row(std::span<const TokenId> completion, BatchRow facts,
                           std::span<const float> sampling_logps, std::span<const float> stored_logps) {
  BatchGroup& group = batch_.groups.back();
  const int64_t prompt_length = group.prompt_end - group.prompt_begin;
  facts.group = static_cast<int64_t>(batch_.groups.size()) - 1;
  facts.token_begin = batch_.num_tokens();
  facts.target_begin = batch_.num_targets();
  for (size_t i = 0; i < completion.size(); ++i) {
    batch_.target_source.push_back(i == 0 ? group.prompt_end - 1 : batch_.num_tokens() - 1);
    batch_.target_ids.push_back(completion[i]);
    batch_.target_row.push_back(batch_.num_rows());
    batch_.tokens.push_back(completion[i]);
    batch_.positions.push_back(prompt_length + static_cast<int64_t>(i));
  }
  facts.token_end = batch_.num_tokens();
  facts.target_end = batch_.num_targets();
  batch_.target_mask.resize(batch_.target_ids.size(), 1);
  put(batch_.sampling_logps, sampling_logps, facts);
  put(batch_.stored_logps, stored_logps, facts);
  batch_.rows.push_back(facts);
  group.row_end = batch_.num_rows();
}

TrainBatch BatchBuilder::take() { return std::exchange(batch_, {}); }

void add_groups(BatchBuilder& builder, std::span<const RolloutGroup> groups,
                const std::vector<std::vector<Verdict>>& verdicts) {
  for (size_t g = 0; g < groups.size(); ++g) {
    builder.begin_group(groups[g].prompt.ids);
    for (size_t c = 0; c < groups[g].completions.size(); ++c) {
      const Completion& completion = groups[g].completions[c];
      const std::optional<double>& score = verdicts[g][c].score;
      builder.add_row(completion.ids,
                      {.prompt_row = groups[g].prompt.row,
                       .truncated = completion.finish != FinishReason::kStop,
                       .has_reward = score.has_value(),
                       .reward = score.value_or(0),
                       .parts = verdicts[g][c].parts},
                      completion.logps);
    }
  }
}

TrainBatch pack_groups(std::span<const RolloutGroup> groups,
                       const std::vector<std::vector<Verdict>>& verdicts) {
  BatchBuilder builder;
  add_groups(builder, groups, verdicts);
  return builder.take();
}

TrainBatch pack_rows(std::span<const DataRow* const> rows, RowFormat format) {
  BatchBuilder builder;
  for (const DataRow* row : rows) {
    builder.begin_group(row->prompt.ids);
    builder.add_row(row->completion, {.prompt_row = row->prompt.row});
    if (format == RowFormat::kPreference) builder.add_row(row->rejected, {.prompt_row = row->prompt.row});
  }
  return builder.take();
}

}  // namespace fulcrum
