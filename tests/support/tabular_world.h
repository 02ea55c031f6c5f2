// A language small enough to know whole: every sequence of a few tokens, a policy that is one row of logits
// for each prefix, exact probabilities, and the batch that holds each sequence once. What an objective does
// in expectation is then a sum, and what it converges to can be compared with the formula. For tests; not
// thread-safe.
//
// Suffixes: P prefixes that are continued, V tokens, S sequences, N tokens of all sequences.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "engine/types/train_batch.h"

namespace fulcrum::testing {

// The largest entry, whatever its sign: how far two gradients are apart.
inline double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

class TabularWorld {
 public:
  // Sequences of `length` tokens; shorter ones end with `eos`, if there is one.
  explicit TabularWorld(int64_t vocabulary = 5, int64_t length = 3, std::optional<TokenId> eos = std::nullopt)
      : vocabulary_(vocabulary), length_(length), eos_(eos) {
    grow({});
    for (size_t s = 0; s < sequences_.size(); ++s) {
      std::vector<TokenId> prefix;
      for (const TokenId token : sequences_[s]) {
        place_N_.push_back(prefixes_.at(prefix) * vocabulary_ + token);
        sequence_N_.push_back(static_cast<int64_t>(s));
        prefix.push_back(token);
      }
    }
  }

  const std::vector<std::vector<TokenId>>& sequences() const { return sequences_; }
  int64_t size() const { return static_cast<int64_t>(sequences_.size()); }

  // What belongs to sequences, handed up the tree: of each next token of each prefix, the sequence's value
  // where it ends there, else combine(the longer prefix's row).
  template <class Combine>
  at::Tensor backed_up_PV(const at::Tensor& of_S, const Combine& combine) const {
    at::Tensor out = uniform_PV();
    for (size_t s = 0, n = 0; s < sequences_.size(); n += sequences_[s++].size())
      out.view(-1)[place_N_[n + sequences_[s].size() - 1]] = of_S[static_cast<int64_t>(s)];
    // Longer prefixes come after the shorter ones that they continue.
    std::vector<const std::vector<TokenId>*> prefix_P(prefixes_.size());
    for (const auto& [prefix, p] : prefixes_) prefix_P[static_cast<size_t>(p)] = &prefix;
    for (int64_t p = std::ssize(prefixes_) - 1; p > 0; --p) {
      std::vector<TokenId> shorter = *prefix_P[static_cast<size_t>(p)];
      const TokenId last = shorter.back();
      shorter.pop_back();
      out[prefixes_.at(shorter)][last] = combine(out[p], p);
    }
    return out;
  }
  // The logits under which the sequences have these log-probs.
  at::Tensor logits_PV(const at::Tensor& log_pi_S) const {
    return backed_up_PV(log_pi_S, [](const at::Tensor& row_V, int64_t) { return row_V.logsumexp(0); });
  }

  // A policy of uniform next tokens, and one drawn at random.
  at::Tensor uniform_PV() const { return at::zeros({std::ssize(prefixes_), vocabulary_}, at::kDouble); }
  at::Tensor random_PV(uint64_t seed, double scale = 1) const {
    at::Tensor out = uniform_PV();
    Rng rng(seed, Purpose::kTest);
    for (int64_t i = 0; i < out.numel(); ++i) out.mutable_data_ptr<double>()[i] = scale * rng.normal();
    return out;
  }

  // Exact log-probs, differentiable in the logits.
  at::Tensor token_logps_N(const at::Tensor& logits_PV) const {
    return at::log_softmax(logits_PV, -1).flatten().index_select(0, at::tensor(place_N_, at::kLong));
  }
  at::Tensor sequence_logps_S(const at::Tensor& logits_PV) const {
    const at::Tensor zeros_S = at::zeros({size()}, at::kDouble);
    return zeros_S.index_add(0, at::tensor(sequence_N_, at::kLong), token_logps_N(logits_PV));
  }

  // A policy whose next-token probabilities are random multiples of 1/parts, none of them 0; and how often it
  // draws each sequence among parts^length, a whole number: such a batch holds the policy's expectation
  // without weights.
  at::Tensor rational_PV(uint64_t seed, int64_t parts) const {
    at::Tensor out = at::ones_like(uniform_PV());
    Rng rng(seed, Purpose::kTest);
    for (int64_t p = 0; p < out.size(0); ++p)
      for (int64_t i = vocabulary_; i < parts; ++i)
        out[p][static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocabulary_)))] += 1;
    return out.log();
  }
  std::vector<int64_t> draws_S(const at::Tensor& rational_PV, int64_t parts) const {
    const at::Tensor draws_S = (sequence_logps_S(rational_PV).exp() * std::pow(parts, length_)).round();
    return {draws_S.const_data_ptr<double>(), draws_S.const_data_ptr<double>() + size()};
  }

  // The token of each target of batch(copies_S); and the sum over the copies of what belongs to targets.
  at::Tensor token_of_N(const std::vector<int64_t>& copies_S) const {
    std::vector<int64_t> out;
    int64_t begin = 0;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int64_t c = 0; c < copies_S[s]; ++c)
        for (int64_t t = 0; t < std::ssize(sequences_[s]); ++t) out.push_back(begin + t);
      begin += std::ssize(sequences_[s]);
    }
    return at::tensor(out, at::kLong);
  }
  at::Tensor sum_copies_N(const at::Tensor& of_targets, const std::vector<int64_t>& copies_S) const {
    return at::zeros({std::ssize(place_N_)}, at::kDouble).index_add(0, token_of_N(copies_S), of_targets);
  }

  at::Tensor lengths_S() const {
    return at::zeros({size()}, at::kDouble)
        .index_add(0, at::tensor(sequence_N_, at::kLong), at::ones({std::ssize(place_N_)}, at::kDouble));
  }
  // What belongs to prefixes, at the tokens that follow them.
  at::Tensor prefix_of_N(const at::Tensor& of_prefixes) const {
    return of_prefixes.index_select(0, at::tensor(place_N_, at::kLong).floor_divide(vocabulary_));
  }
  at::Tensor ids_N() const { return at::tensor(place_N_, at::kLong).remainder(vocabulary_); }

  // The gradient in the logits, from the gradient in the tokens' log-probs.
  at::Tensor to_logits_PV(const at::Tensor& logits_PV, const at::Tensor& gradient_N) const {
    const at::Tensor leaf = logits_PV.detach().clone().set_requires_grad(true);
    (token_logps_N(leaf) * gradient_N).sum().backward();
    return leaf.grad();
  }
  // The same divided by how often the policy passes each token of each prefix: the natural gradient, under
  // which rare prefixes learn as fast as frequent ones.
  at::Tensor natural_PV(const at::Tensor& logits_PV, const at::Tensor& gradient_PV) const {
    const at::Tensor passes = at::zeros({logits_PV.numel()}, at::kDouble)
                                  .index_add(0, at::tensor(place_N_, at::kLong),
                                             sequence_logps_S(logits_PV.detach())
                                                 .exp()
                                                 .index_select(0, at::tensor(sequence_N_, at::kLong)));
    return gradient_PV / passes.view_as(gradient_PV).clamp_min(1e-12);
  }

  // Each sequence once (or copies_S times), all of one prompt (row 0), as if drawn from the uniform
  // distribution over sequences: an importance-weighted mean over the batch is then the exact expectation.
  // Rewards are the caller's to fill in.
  TrainBatch batch(const at::Tensor& policy_PV, const at::Tensor& reference_PV) const {
    return batch(policy_PV, reference_PV, std::vector<int64_t>(sequences_.size(), 1));
  }
  TrainBatch batch(const at::Tensor& policy_PV, const at::Tensor& reference_PV,
                   const std::vector<int64_t>& copies_S) const {
    TrainBatch out;
    for (size_t s = 0; s < sequences_.size(); ++s)
      for (int64_t c = 0; c < copies_S[s]; ++c) add_row(sequences_[s], out);
    out.groups.push_back({.row_begin = 0, .row_end = out.num_rows()});
    out.target_mask.assign(out.target_ids.size(), 1);
    const at::Tensor token_N = token_of_N(copies_S);
    out.old_logps = floats(token_logps_N(policy_PV).index_select(0, token_N));
    out.reference_logps = floats(token_logps_N(reference_PV).index_select(0, token_N));
    return out;
  }

  // 1/2 sum |pi - p| of two distributions over the sequences.
  static double total_variation(const at::Tensor& log_pi_S, const at::Tensor& log_p_S) {
    return (log_pi_S.exp() - log_p_S.exp()).abs().sum().item<double>() / 2;
  }

 private:
  void add_row(const std::vector<TokenId>& sequence, TrainBatch& out) const {
    const auto n = static_cast<int64_t>(sequence.size()), at = out.num_targets();
    out.rows.push_back({.token_begin = at,
                        .token_end = at + n,
                        .target_begin = at,
                        .target_end = at + n,
                        .prompt_row = 0,
                        .has_reward = true});
    for (int64_t t = 0; t < n; ++t) {
      out.target_ids.push_back(sequence[static_cast<size_t>(t)]);
      out.target_row.push_back(out.num_rows() - 1);
      // Only the sum over a sequence matters.
      out.sampling_logps.push_back(t == 0 ? static_cast<float>(-std::log(static_cast<double>(size())))
                                          : 0.0F);
    }
  }
  void grow(const std::vector<TokenId>& prefix) {
    const bool ended = eos_ && !prefix.empty() && prefix.back() == *eos_;
    if (ended || std::ssize(prefix) == length_) {
      sequences_.push_back(prefix);
      return;
    }
    prefixes_.emplace(prefix, std::ssize(prefixes_));
    for (int64_t v = 0; v < vocabulary_; ++v) {
      std::vector<TokenId> next = prefix;
      next.push_back(static_cast<TokenId>(v));
      grow(next);
    }
  }
  static std::vector<float> floats(const at::Tensor& x_N) {
    const at::Tensor f = x_N.detach().to(at::kFloat).contiguous();
    return {f.const_data_ptr<float>(), f.const_data_ptr<float>() + f.numel()};
  }

  int64_t vocabulary_, length_;
  std::optional<TokenId> eos_;
  std::map<std::vector<TokenId>, int64_t> prefixes_;
  std::vector<std::vector<TokenId>> sequences_;
  std::vector<int64_t> place_N_, sequence_N_;  // of each token: its logit, its sequence
};

}  // namespace fulcrum::testing
