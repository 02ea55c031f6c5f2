// A step's batch as f-DPG sees it: whole completions with their scores, prompt by prompt. Called by f_dpg.cpp
// in prepare(). Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/status.h"
#include "engine/objective/f_dpg_gradient.h"
#include "engine/objective/f_dpg_target.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// The completions of one prompt that can be learnt from; the lists are parallel.
struct Context {
  int64_t prompt_row = -1;
  std::vector<size_t> rows;           // of the batch
  std::vector<SampleScores> samples;  // relative to the base model, where it allows the completion
  std::vector<bool> in_base;          // else it lies outside every target, and the scores are not relative
  std::vector<double> log_weights;    // log P/q of each sample
};

// Scores every row from the batch's log-probs (old_logps is the policy, reference_logps the base model,
// sampling_logps the proposal; without them the policy is its own). A row without a verdict, or that the
// policy cannot produce any more, leaves the loss: its targets are masked. kDataLoss names the row whose
// numbers cannot be.
Result<std::vector<Context>> collect_contexts(TrainBatch& batch, const EnergyTarget& target,
                                              const std::vector<double>& lambda);

// How many contexts collect_contexts() found in a batch that it has masked, or in whole groups of it.
int64_t count_contexts(const TrainBatch& batch, const EnergyTarget& target);

}  // namespace fulcrum
