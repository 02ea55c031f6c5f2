// How long a step of a job takes, stage by stage: the step's counts times what this machine was measured to
// do with the job's own shapes. Called by `fulcrum plan`. Torch-free, pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/pipeline/plan/workload.h"

namespace fulcrum {

// Seconds on this machine, with the job's threads, for the whole model.
struct Speeds {
  double layers_forward = 0, layers_train = 0;  // a token through the learner's layers; train: and back
  double head_forward = 0, head_train = 0;  // a target's log-prob (and its exact divergence, where needed)
  double update = 0;                        // one optimizer step: norm, clipping, AdamW
  double publish = 0;                       // the weights, copied and packed for the decoder
  double prefill = 0;                       // a prompt's token through the decoder
  double decode = 0;                        // a completion's, with as many rows as the job has at a time
  double sample = 0;                        // a token drawn from its logits
};

struct TimePart {
  std::string stage;
  double seconds = 0;
  std::string what;  // "32768 tokens"
};

struct TimePlan {
  std::vector<TimePart> parts;
  double step = 0;  // seconds; with max_staleness the longer of generation and training
};

// Without what a plan cannot know: judges, evaluations, checkpoints, stages before training.
TimePlan plan_time(const Workload& work, const Speeds& speeds);

}  // namespace fulcrum
