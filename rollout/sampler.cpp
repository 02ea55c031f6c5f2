#include "rollout/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "engine/kernels/aligned.h"
#include "engine/kernels/softmax/op.h"
#include "rollout/sampling_config.h"

namespace fulcrum {

Status check_sampling(const SamplingParams& p) {
  const auto wrong = [](const char* name, double value, const char* range) {
    char shown[32];
    std::snprintf(shown, sizeof shown, "%g", value);
    return invalid_argument(std::string("sampling: ") + name + " is " + shown + ", it must be " + range);
  };
  if (!is_temperature(p.temperature) || std::isinf(p.temperature))
    return wrong("temperature", p.temperature, "0 (greedy) or at least 1e-6");
  if (p.top_k < 0) return wrong("top_k", static_cast<double>(p.top_k), "0 (off) or above");
  if (!(p.top_p > 0 && p.top_p <= 1)) return wrong("top_p", p.top_p, "above 0 and at most 1");
  if (!(p.min_p >= 0 && p.min_p <= 1)) return wrong("min_p", p.min_p, "from 0 to 1");
  if (p.max_completion_length < 1) {
    return wrong("max_completion_length", static_cast<double>(p.max_completion_length), "at least 1");
  }
  for (const std::string& s : p.stop) {
    if (s.empty())
      return invalid_argument("sampling: stop has an empty text, which would end every completion at once");
  }
  return ok_status();
}

std::optional<Draw> Sampler::draw(std::span<const float> logits, const SamplingParams& params,
                                  double uniform) {
  const bool greedy = params.temperature == 0;
  const float temperature = greedy ? 1.0f : static_cast<float>(params.temperature);
  const auto n = static_cast<int64_t>(logits.size());
  size_ = logits.size();
  weights_.resize(static_cast<size_t>(kernels::round_up(n, kernels::kRowAlign)));
  block_sums_.resize(static_cast<size_t>((n + kernels::kSoftmaxBlock - 1) / kernels::kSoftmaxBlock));
  const kernels::SoftmaxTotal sums =
      kernels::softmax_weights(logits.data(), n, temperature, weights_.data(), block_sums_.data());
  if (!std::isfinite(sums.total)) return std::nullopt;

  const bool filtered = (params.top_k > 0 && params.top_k < n) || params.top_p < 1 || params.min_p > 0;
  Draw out;
  if (greedy) {
    out.id = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  } else if (filtered) {
    out.id = draw_filtered(logits, temperature, params, uniform);
  } else {
    out.id = draw_from_all(uniform * sums.total);
  }
  const double score = logits[static_cast<size_t>(out.id)] / temperature;
  out.logp = static_cast<float>(score - sums.max - std::log(sums.total));
  return out;
}

// The first token at which the running sum of weights passes `target`. Where rounding keeps the sum below it,
// the last token that has a weight.
TokenId Sampler::draw_from_all(double target) const {
  double before = 0;
  size_t last = 0;
  for (size_t block = 0; block < block_sums_.size(); ++block) {
    const bool inside = before + block_sums_[block] > target;
    if (!inside && block + 1 < block_sums_.size()) {
      before += block_sums_[block];
      continue;
    }
    const size_t begin = block * kernels::kSoftmaxBlock,
                 end = std::min(begin + kernels::kSoftmaxBlock, size_);
    double sum = before;
    for (size_t i = begin; i < end; ++i) {
      sum += weights_[i];
      if (weights_[i] > 0) last = i;
      if (sum > target) return static_cast<TokenId>(i);
    }
    if (inside) return static_cast<TokenId>(last);
  }
  if (weights_[last] > 0) return static_cast<TokenId>(last);
  for (last = size_ - 1; !(weights_[last] > 0);) --last;
  return static_cast<TokenId>(last);
}

TokenId Sampler::draw_filtered(std::span<const float> logits, float temperature, const SamplingParams& params,
                               double uniform) {
  candidates_.clear();
  for (size_t i = 0; i < size_; ++i) {
    candidates_.push_back({static_cast<TokenId>(i), logits[i] / temperature, weights_[i]});
  }
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < size_)
    keep_top_k(static_cast<size_t>(params.top_k));
  if (params.top_p < 1) keep_top_p(params.top_p);
  // The best weight is e^0 = 1.
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < params.min_p || !(c.weight > 0); });
  double total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  double sum = 0;
  for (const Candidate& c : candidates_) {
    sum += c.weight;
    if (sum > uniform * total) return c.id;
  }
  return candidates_.back().id;
}

bool Sampler::better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

void Sampler::keep_top_k(size_t k) {
  order_ = candidates_;
  std::nth_element(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(k - 1), order_.end(), better);
  const float least = order_[k - 1].score;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.score < least; });
}

// Cuts candidates_ to the nucleus (Holtzman et al., "The curious case of neural text degeneration", 2020):
// the worst that stays is found by selection, halving the candidates in question each time, so the vocabulary
// is never sorted.
void Sampler::keep_top_p(double p) {
  order_ = candidates_;
  double mass = 0;
  for (const Candidate& c : order_) mass += c.weight;
  // The first `low` of the order have `before` of the mass, too little; the first `high` have enough, or are
  // all.
  size_t low = 0, high = order_.size();
  double before = 0;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const auto at = [&](size_t i) { return order_.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(at(low), at(middle), at(high), better);
    double half = 0;
    for (size_t i = low; i < middle; ++i) half += order_[i].weight;
    if (before + half >= p * mass) {
      high = middle;
    } else {
      low = middle;
      before += half;
    }
  }
  const Candidate worst = order_[low];
  std::erase_if(candidates_, [&](const Candidate& c) { return better(worst, c); });
}

}  // namespace fulcrum
