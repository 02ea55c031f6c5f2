// What one step of a job works on, in numbers: the batch as the learner packs and cuts it, the tokens to
// generate, the models that are in memory. What memory.h and time.h count. Called by `fulcrum plan`.
// Torch-free, pure.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/types/train_batch.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

struct MicroBatch {
  int64_t tokens = 0, targets = 0;
};

struct Workload {
  JobConfig config;
  ModelSpec spec;
  Needs needs;
  // Models beside the policy that the learner holds.
  bool reference_model = false;      // a reference whose log-probs are not read from a file
  bool separate_critic = false;      // of the policy's shape, unless value_model names another one
  bool on_device = false;            // the learner's models lie in a GPU's memory
  bool generates_on_device = false;  // this process generates there

  int64_t prompts = 0, sequences = 0;                // that a step generates
  int64_t prompt_tokens = 0, completion_tokens = 0;  // of all of them
  int64_t completion_length = 0;                     // of each
  TrainBatch batch;                                  // of a step: lengths are right, ids are 0
  std::vector<MicroBatch> micro_batches;             // of the batch
  int64_t updates = 1;                               // optimizer steps of a step

  int64_t mean_prompt() const { return prompts == 0 ? 0 : prompt_tokens / prompts; }
  MicroBatch largest() const;
  int64_t tokens() const;  // of all micro-batches: a prompt that two of them share counts twice
  int64_t targets() const;
};

// `rows`: of the step in question. `needs`: the objective's. `completion_length`: what completions are taken
// to have (online trainers), at most max_completion_length and what the model has room for.
Workload workload_of(const JobConfig& config, const ModelSpec& spec, const Needs& needs,
                     std::span<const DataRow* const> rows, int64_t completion_length);

// Of the first steps that the job would make, the rows of the one with the most tokens.
std::vector<const DataRow*> largest_step(const JobConfig& config, const Dataset& data);

int64_t element_count(std::span<const int64_t> shape);
// Weights of a model, each once; those of the matrices in one layer.
int64_t parameter_count(const ModelSpec& spec);
int64_t layer_matrix_weights(const ModelSpec& spec);

}  // namespace fulcrum
