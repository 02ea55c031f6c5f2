// Rollouts, pairs and texts into the TrainBatch the learner takes (engine/types/train_batch.h). Called by the
// pipeline, the `logps` verb and slice.cpp. Rollouts are checked where they enter the process; here a prompt
// has tokens. Pure but for the builder, which belongs to one thread.
#pragma once

#include <span>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/types/train_batch.h"
#include "engine/types/verdict.h"

namespace fulcrum {

// Lays out groups and rows one after the other, so that the layout stands in one place.
class BatchBuilder {
 public:
  // The prompt of the rows that follow; not empty.
  void begin_group(std::span<const TokenId> prompt);

  // A completion of the current group, every token a target; may be empty. `facts` gives the fields that are
  // not layout. Log-probs are one a token, or none: 0 if another row of the batch has some.
  void add_row(std::span<const TokenId> completion, BatchRow facts,
               std::span<const float> sampling_logps = {}, std::span<const float> stored_logps = {});

  // The batch; the builder is empty afterwards.
  TrainBatch take();

 private:
  TrainBatch batch_;
};

// One group a rollout group, one row a completion, in order; sampling_logps as reported, rewards from the
// verdicts: verdicts[i][j] judges groups[i].completions[j].
void add_groups(BatchBuilder& builder, std::span<const RolloutGroup> groups,
                const std::vector<std::vector<Verdict>>& verdicts);
TrainBatch pack_groups(std::span<const RolloutGroup> groups,
                       const std::vector<std::vector<Verdict>>& verdicts);

// One group a row of the data: kCompletion, one row, all of the completion is learnt; kPreference, row 2i is
// chosen and row 2i + 1 rejected, over one prompt.
TrainBatch pack_rows(std::span<const DataRow* const> rows, RowFormat format);

}  // namespace fulcrum
