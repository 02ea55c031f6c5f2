// What generates completions with one version of the weights: on this machine's cores (generator.h) or on an
// accelerator (device_generator.h). A prompt runs through the model once for its whole group; finished
// sequences leave the batch and waiting ones take their place. Called by LocalRollout, the gRPC worker and
// the `generate` verb. One call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "policy/decode/device/options.h"

namespace fulcrum {

struct GeneratorOptions {
  int64_t max_batch = 64;  // sequences at a time
  int64_t threads = 1;     // of a CPU
  DeviceOptions device;    // without kernels: the CPU generates
};

// A token as it is drawn, for streaming.
struct TokenEvent {
  size_t request = 0;      // which of the requests
  int64_t generation = 0;  // which completion of it
  TokenId id = 0;
  float logp = 0;
  std::string text;  // what this token makes certain; all of a completion's joined are its text
};

// Called on the caller's thread; either may be empty.
struct GenerateCalls {
  std::function<void(const TokenEvent&)> on_token;
  // A group as soon as it is whole; groups finish in any order.
  std::function<void(size_t request, const RolloutGroup&)> on_group;
};

class CompletionGenerator {
 public:
  virtual ~CompletionGenerator() = default;

  // All groups, in the order of the requests; they carry `version`. kInvalidArgument names the row of the
  // data (from 0; none if it is negative) whose prompt does not fit the model; kCancelled when stopped;
  // kDataLoss when logits are not finite; kResourceExhausted when memory runs out.
  virtual Result<std::vector<RolloutGroup>> generate(std::span<const RolloutRequest> requests,
                                                     PolicyVersion version, std::stop_token stop,
                                                     const GenerateCalls& calls = {}) = 0;
};

}  // namespace fulcrum
