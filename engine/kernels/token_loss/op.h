// The log-prob of one token from its row of logits, the entropy of the row, and the gradient of the log-prob
// written over the logits. Called by policy/nn for a chunk of rows at a time. Pure, thread-safe on disjoint
// rows.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

struct LogitsRow {
  float* logits = nullptr;  // [n], head output before the temperature
  int64_t n = 0;
  float temperature = 1;
  int32_t id = 0;  // the token, 0 <= id < n
};

struct TokenLoss {
  float logp = 0;     // z[id] - lse, with z = logits / temperature
  double lse = 0;     // log sum exp z: as a float it would cost a sharp distribution's log-probs a digit
  float entropy = 0;  // lse - sum p z; 0 where it was not asked for
};

// Sums are taken over blocks of 256 logits in sixteen chains, blocks in double. A logit of -infinity has no
// probability and adds nothing.
TokenLoss token_loss(const LogitsRow& row, bool with_entropy);

// logits = coefficient (onehot(id) - exp(z - lse)) / temperature: the gradient of coefficient * logp.
void token_loss_backward(const LogitsRow& row, double lse, float coefficient);

namespace reference {
TokenLoss token_loss(const LogitsRow& row, bool with_entropy);
void token_loss_backward(const LogitsRow& row, double lse, float coefficient);
}  // namespace reference

}  // namespace fulcrum::kernels
