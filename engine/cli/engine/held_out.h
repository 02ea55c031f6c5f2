// What a soup is judged by before it is written: the log-probs of held-out texts, or the reward on held-out
// prompts. Called by `fulcrum soup`. One thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/cli/engine/measure.h"
#include "engine/core/status.h"
#include "engine/data/dataset.h"
#include "engine/reference/greedy.h"
#include "engine/reference/ingredient.h"
#include "engine/types/train_batch.h"

namespace fulcrum::cli {

struct BarrierReport {
  double soup = 0;             // NLL on the held-out texts, nats per token
  std::vector<double> models;  // each model's
  double barrier = 0, limit = 0;
};

struct HeldOutOptions {
  std::vector<std::string> texts;  // rows with `text`, or `prompt` and `completion`, of which that one counts
  MeasureOptions prompts;          // no rewards: there are none
  std::stop_token stop;
};

class HeldOut {
 public:
  // Errors name file and line.
  static Result<HeldOut> open(HeldOutOptions options, std::shared_ptr<const Tokenizer> tokenizer,
                              const ModelSpec& spec);

  const std::optional<Dataset>& texts() const { return texts_; }

  // Each prompt's mean reward; without rewards each text's mean log-prob of a token.
  Result<Scores> score(const Model& model) const;

  // How much worse the soup is than its models on average, NLL(soup) - sum_i w_i NLL(theta_i) in nats per
  // token of the texts: well above 0, the models do not lie in one basin and their average is broken.
  // kDataLoss above the limit; no value without texts.
  Result<std::optional<BarrierReport>> barrier(const Model& soup, std::span<const Ingredient> models,
                                               std::span<const double> weights, double limit) const;

 private:
  HeldOut(HeldOutOptions options, std::shared_ptr<const Tokenizer> tokenizer)
      : options_(std::move(options)), tokenizer_(std::move(tokenizer)) {}

  HeldOutOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<Dataset> texts_;
};

// All of them as one batch.
TrainBatch pack_texts(const Dataset& texts);

}  // namespace fulcrum::cli
