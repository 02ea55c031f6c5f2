// Draws one token from a row of logits. The order is that of Hugging Face's `generate`: temperature, top_k,
// top_p, min_p. What is drawn is a function of (logits, parameters, one uniform number): the filtered
// distribution is walked in the order of the ids. Called by the generator; a sampler has scratch memory, so
// one thread uses it at a time.
//
//   top_k   keeps the k best scores, and what ties with the k-th
//   top_p   keeps a token if the kept tokens before it (best first; of equal scores the lower id first) have
//   less than
//           top_p of the mass that top_k left; the best always stays
//   min_p   keeps a token if it is at least min_p times as likely as the best
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"

namespace fulcrum {

// kInvalidArgument naming the parameter that is out of range.
Status check_sampling(const SamplingParams& params);

struct Draw {
  TokenId id = 0;
  float logp = 0;  // log-softmax(logits / temperature)[id] before any filter; greedy: temperature 1
};

class Sampler {
 public:
  // `uniform` in [0, 1); greedy (temperature 0: the best logit, of equal ones the lowest id) does not look at
  // it. Nothing if a logit is NaN or +infinity.
  std::optional<Draw> draw(std::span<const float> logits, const SamplingParams& params, double uniform);

 private:
  struct Candidate {
    TokenId id;
    float score;   // logits / temperature
    float weight;  // e^(score - best score)
  };

  TokenId draw_from_all(double target) const;
  TokenId draw_filtered(std::span<const float> logits, float temperature, const SamplingParams& params,
                        double uniform);
  static bool better(const Candidate& a, const Candidate& b);  // higher score; of equal ones the lower id
  void keep_top_k(size_t k);
  void keep_top_p(double p);

  size_t size_ = 0;  // of the vocabulary
  std::vector<float> weights_;
  std::vector<double> block_sums_;     // of weights_, kernels::kSoftmaxBlock each
  std::vector<Candidate> candidates_;  // in the order of the ids
  std::vector<Candidate> order_;       // the same, partly by score
};

}  // namespace fulcrum
