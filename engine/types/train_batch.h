// What the learner trains on: many completions packed into one row of tokens, each prompt stored once and
// shared by its completions. Plain host arrays; engine/data packs it, objectives add their numbers, the
// learner slices it.
//
// Layout for a group with prompt p and completions a, b:   tokens = p0 p1 p2 | a0 a1 | b0 b1 b2
// A completion token attends to its group's whole prompt and to its own past; its position continues the
// prompt's. Every completion token is one *target*: it is predicted from the hidden state of the token before
// it (for the first one, the last token of the prompt). All per-target arrays below are parallel: N targets,
// row by row.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/types/rollout.h"

namespace fulcrum {

// What an objective asks the learner to fetch before its loss; the learner fetches exactly these.
struct Needs {
  bool old_logps = false;     // log-probs of the policy at the start of the update, for loss()
  bool policy_logps = false;  // the same already in prepare(), as old_logps: costs a forward pass of its own
  bool reference_logps = false;  // log-probs of the reference model, in prepare() too
  bool divergence = false;  // exact divergence to the reference at each target (Objective::divergence()), and
                            // with it the reference's log-probs, in loss() only
  bool values = false;   // the critic at each target's state: old ones in prepare(), current ones in loss()
  bool scores = false;   // the score head at the last token of each row (reward models)
  bool entropy = false;  // entropy of the policy at each target (a metric; no gradient)
  bool pairs = false;    // rows 2i and 2i+1 are chosen and rejected and stay in one micro-batch
};

struct BatchGroup {
  int64_t prompt_begin = 0, prompt_end = 0;  // tokens [begin, end); never empty
  int64_t row_begin = 0, row_end = 0;        // rows [begin, end)
};

struct BatchRow {
  int64_t group = 0;
  int64_t token_begin = 0, token_end = 0;    // the completion's tokens; may be empty
  int64_t target_begin = 0, target_end = 0;  // its targets; as many as tokens
  int64_t prompt_row = -1;                   // Prompt::row, for messages
  bool truncated = false;                    // ended by length, not by EOS or a stop
  bool rehearsal = false;  // DPH-RL: a stored sample of the initial policy, not an exploration row
  bool has_reward = false;
  double reward = 0;                    // the verdict's score
  std::map<std::string, double> parts;  // the scores it is made of, by reward name
};

struct TrainBatch {
  // Tokens, T of them.
  std::vector<TokenId> tokens;
  std::vector<int64_t> positions;
  std::vector<BatchGroup> groups;
  std::vector<BatchRow> rows;

  // Targets, N of them.
  std::vector<int64_t> target_source;  // index of the token whose hidden state predicts the target
  std::vector<TokenId> target_ids;
  std::vector<int64_t> target_row;
  std::vector<uint8_t> target_mask;   // 1: enters the loss
  std::vector<float> sampling_logps;  // as the rollout reported them; empty if the data has none
  std::vector<float> stored_logps;    // DPH-RL: learner-side log-probs of the initial policy; 0 on other rows
  std::vector<float> old_logps;       // filled by the learner when asked for
  std::vector<float> reference_logps;  // filled by the learner when asked for
  std::vector<float> old_values;       // filled by the learner when asked for: the critic before the update
  std::vector<float> advantages;       // filled by Objective::prepare; empty if the objective has none
  std::vector<float> returns;          // filled by Objective::prepare: what the critic should say

  // Totals over the whole optimizer step, set by Objective::prepare: what loss sums are divided by.
  double denominator = 1;
  double rehearsal_denominator = 1;
  double kl_coefficient = 0;  // of the KL in the loss, where prepare() decides it from step to step

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_targets() const { return static_cast<int64_t>(target_ids.size()); }
  int64_t num_rows() const { return static_cast<int64_t>(rows.size()); }
};

}  // namespace fulcrum
