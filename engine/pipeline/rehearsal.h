// DPH-RL's two data sets (methods: "The Choice of Divergence", arXiv 2509.07430, section on data
// construction): which prompts the initial policy already masters (D_pef, each with one freshly drawn correct
// sample and the learner's own log-probs of it) and which are left to explore (D_exp). Kept as
// presample.jsonl in the run folder: a line that says what it was made with, then one line a prompt, appended
// as it is made, so that an interrupted stage goes on where it was. Values; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/pipeline/partition.h"
#include "engine/types/rollout.h"
#include "engine/types/train_batch.h"

namespace fulcrum {

// What the stage found out about one prompt.
struct PresampledPrompt {
  int64_t row = 0;
  int64_t correct = 0;  // of the k samples
  PromptLabel label = PromptLabel::kExp;
  std::vector<TokenId> ids;  // the fresh sample, EOS included; only if mastered
  std::vector<float>
      logps;  // log-probs of the initial policy by the learner's forward pass; only if mastered

  bool mastered() const { return label == PromptLabel::kPef; }
};

class Rehearsal {
 public:
  // Reads the file, or begins it. `made_with`: everything that decides its numbers, by name; a file that says
  // otherwise is kFailedPrecondition naming the first difference. A torn last line (a crash in the middle of
  // an append) is dropped; anything else that cannot be read, or does not stand in its place, is kDataLoss
  // naming file and line.
  static Result<Rehearsal> open(const Path& file, const Json& made_with);

  Status append(const std::vector<PresampledPrompt>& prompts);
  // Forgets all but the first `count` prompts, in the file too.
  Status keep(int64_t count);
  const std::vector<PresampledPrompt>& prompts() const { return prompts_; }

  // Those that are neither mastered nor dropped.
  std::vector<int64_t> exploration_rows() const;
  // The stored samples of a step: consecutive ones in an order that is reshuffled each epoch, pure in (seed,
  // step).
  std::vector<const PresampledPrompt*> samples(uint64_t seed, int64_t step, int64_t count) const;

 private:
  Rehearsal(Path file, std::string header) : file_(std::move(file)), header_(std::move(header)) {}
  Path file_;
  std::string header_;  // the file's first line
  std::vector<PresampledPrompt> prompts_;
};

}  // namespace fulcrum
