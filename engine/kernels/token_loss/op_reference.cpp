#include <algorithm>
#include <cmath>

#include "engine/kernels/exp/op.h"
#include "engine/kernels/reference_sum.h"
#include "engine/kernels/token_loss/op.h"

namespace fulcrum::kernels::reference {
namespace {

float scaled(const LogitsRow& row, int64_t i) {
  return row.temperature != 1 ? row.logits[i] / row.temperature : row.logits[i];
}

}  // namespace

TokenLoss token_loss(const LogitsRow& row, bool with_entropy) {
  float max = scaled(row, 0);
  for (int64_t i = 1; i < row.n; ++i) max = max < scaled(row, i) ? scaled(row, i) : max;
  double total = 0, weighted = 0;
  for (int64_t begin = 0; begin < row.n; begin += 256) {
    float sums[16] = {}, products[16] = {};
    for (int64_t i = begin; i < std::min(begin + 256, row.n); ++i) {
      const float below = scaled(row, i) - max, weight = exp(below);
      sums[i % 16] += weight;
      products[i % 16] = std::fma(weight, weight == 0 ? 0 : below, products[i % 16]);
    }
    total += sum16(sums);
    weighted += sum16(products);
  }
  const double log_total = std::log(total);
  TokenLoss out;
  out.logp = static_cast<float>(double{scaled(row, row.id) - max} - log_total);
  out.lse = double{max} + log_total;
  if (with_entropy) out.entropy = static_cast<float>(log_total - weighted / total);
  return out;
}

void token_loss_backward(const LogitsRow& row, double lse, float coefficient) {
  const float factor = coefficient / row.temperature, own = scaled(row, row.id);
  const float high = static_cast<float>(lse), low = static_cast<float>(lse - double{high});
  for (int64_t i = 0; i < row.n; ++i) row.logits[i] = exp(scaled(row, i) - high - low) * -factor;
  row.logits[row.id] = factor * (1.0f - exp(own - high - low));
}

}  // namespace fulcrum::kernels::reference
