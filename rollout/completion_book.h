// The requests of one call of generate() and what has been drawn for them: which completion starts next, when
// one ends, and which groups are whole. Called by the generators, which draw. Not thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/core/rng.h"
#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"
#include "rollout/completion_generator.h"
#include "rollout/sampler.h"
#include "rollout/stop_rules.h"

namespace fulcrum {

// kInvalidArgument: a prompt that does not fit the model, or parameters out of range.
Status check_requests(std::span<const RolloutRequest> requests, const ModelSpec& spec);

// kResourceExhausted, naming the keys to lower.
Status out_of_memory(int64_t sequences);

// A completion that is being drawn.
struct OpenCompletion {
  size_t group;
  int64_t generation;
  Rng noise;                       // number t draws token t
  std::unique_ptr<StopText> text;  // only where somebody looks at the text
  Completion completion;
  bool finished = false;

  double uniform(size_t token) const { return noise.uniform53_at(token); }
};

class CompletionBook {
 public:
  // All outlive the book; the requests have been checked.
  CompletionBook(std::span<const RolloutRequest> requests, PolicyVersion version, const Tokenizer& tokenizer,
                 const ModelSpec& spec, const GenerateCalls& calls);

  size_t size() const { return groups_.size(); }
  const RolloutRequest& request(size_t group) const { return *groups_[group].request; }
  // Sorted.
  std::span<const TokenId> ending_ids(size_t group) const { return groups_[group].ending_ids; }
  // The tokens that a completion of the group may have.
  int64_t room(size_t group) const;

  // The first group with completions that have not started; size(): all have.
  size_t waiting() const { return waiting_; }
  int64_t started(size_t group) const { return groups_[group].started; }
  int64_t not_started(size_t group) const { return request(group).num_generations - started(group); }
  // Starts the next completion of the waiting group.
  OpenCompletion start();

  // Adds a drawn token to the completion and ends it if a rule says so. No draw: kDataLoss, the logits were
  // not finite.
  Status take_in(OpenCompletion& c, const std::optional<Draw>& draw);

  // All groups, once all are whole.
  std::vector<RolloutGroup> groups();

 private:
  struct Group {
    const RolloutRequest* request;
    std::vector<TokenId> ending_ids;
    int64_t started = 0, finished = 0;
    RolloutGroup out;
  };
  void finish(OpenCompletion& c, FinishReason reason);

  const Tokenizer& tokenizer_;
  const ModelSpec& spec_;
  const GenerateCalls& calls_;
  std::vector<Group> groups_;
  size_t waiting_ = 0;
};

}  // namespace fulcrum
