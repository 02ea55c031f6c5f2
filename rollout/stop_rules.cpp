#include "rollout/stop_rules.h"

#include <algorithm>

namespace fulcrum {

std::vector<TokenId> ending_ids(const Tokenizer& tokenizer, const ModelSpec& spec,
                                const SamplingParams& params) {
  std::vector<TokenId> ids = params.stop_ids;
  ids.insert(ids.end(), spec.eos_token_ids.begin(), spec.eos_token_ids.end());
  if (const auto eos = tokenizer.eos()) ids.push_back(*eos);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

StopText::StopText(const Tokenizer& tokenizer, std::span<const std::string> stops)
    : decoder_(tokenizer), stops_(stops) {
  for (const std::string& s : stops) longest_ = std::max(longest_, s.size());
}

std::string StopText::push(TokenId id) {
  std::string piece = decoder_.push(id);
  if (stops_.empty()) return piece;
  tail_ += piece;
  found_ = found_ || std::any_of(stops_.begin(), stops_.end(),
                                 [&](const std::string& s) { return tail_.find(s) != std::string::npos; });
  if (tail_.size() >= longest_) tail_.erase(0, tail_.size() - (longest_ - 1));
  return piece;
}

}  // namespace fulcrum
