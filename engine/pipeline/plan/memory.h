// How much memory a job needs at its peak, part by part, from shapes alone: the buffers that the learner, the
// decoder and the run really hold, phase by phase. Called by `fulcrum plan`. Torch-free, pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/pipeline/plan/workload.h"

namespace fulcrum {

// A run at its heaviest moments. What is held always counts in each.
enum class Phase : unsigned {
  kStart = 1,    // the model file is read into the learner
  kPublish = 2,  // weights go to the decoder
  kGenerate = 4,
  kBackward = 8,    // the largest micro-batch, as its backward pass begins
  kUpdate = 16,     // all gradients are there
  kCheckpoint = 32  // weights and moments are copied to be written
};

enum class Place { kHost, kDevice };

struct MemoryPart {
  std::string name;
  int64_t bytes = 0;
  unsigned phases = 0;  // of Phase; all of them: always
  std::string keys;     // those of the job that make it smaller; empty: none
  Place place = Place::kHost;
};

struct MemoryPeak {
  Phase phase = Phase::kStart;
  int64_t bytes = 0;  // 0: nothing lies there
};

// What CUDA itself and LibTorch's allocator keep on a device besides is not counted.
struct MemoryPlan {
  std::vector<MemoryPart> parts;
  MemoryPeak host, device;
  const MemoryPeak& peak(Place place) const { return place == Place::kHost ? host : device; }
};

struct MemoryBase {
  int64_t process = 0;     // what a process with LibTorch has before it does anything
  int64_t data = 0;        // the rows, tokenised
  int64_t model_file = 0;  // mapped while it is read
};

MemoryPlan plan_memory(const Workload& work, const MemoryBase& base);

// The parts of a place's peak that keys of the job make smaller, the largest first.
std::vector<MemoryPart> reducible(const MemoryPlan& plan, Place place);
// Whether a part is there at the peak of its place.
bool at_peak(const MemoryPlan& plan, const MemoryPart& part);
// "change max_tokens_per_micro_batch (activations, 1.20 GiB); ..."
std::string memory_advice(const MemoryPlan& plan, Place place);
std::string size_text(int64_t bytes);  // "1.20 GiB"

std::string phase_name(Phase phase);  // "while a checkpoint is written"

}  // namespace fulcrum
