// When a completion ends: a token that ends it, or a text that appears in it, also across the borders of
// tokens. Called by the generator, one StopText for each sequence. Not thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types/rollout.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// The tokens that end a completion: the tokenizer's EOS, the model config's, and the request's own. Sorted.
std::vector<TokenId> ending_ids(const Tokenizer& tokenizer, const ModelSpec& spec,
                                const SamplingParams& params);

// The text of a growing completion, and whether one of the stop texts is in it.
class StopText {
 public:
  StopText(const Tokenizer& tokenizer, std::span<const std::string> stops);

  // The text that `id` makes certain.
  std::string push(TokenId id);
  // What was held back; call once, at the end.
  std::string finish() { return decoder_.finish(); }
  bool found() const { return found_; }

 private:
  IncrementalDecoder decoder_;
  std::span<const std::string> stops_;
  size_t longest_ = 0;  // of the stops
  std::string tail_;    // the end of the text, one byte shorter than the longest stop
  bool found_ = false;
};

}  // namespace fulcrum
