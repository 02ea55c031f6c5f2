#include <algorithm>
#include <cmath>

#include "engine/kernels/attention/op.h"
#include "engine/kernels/exp/op.h"
#include "engine/kernels/reference_sum.h"

namespace fulcrum::kernels::reference {
namespace {

void head_row(const AttentionShape& shape, const AttentionInput& in, int64_t head, float* output) {
  const int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const float* query = in.query + head * shape.head_dim;
  const auto key = [&](int64_t position, int64_t i) {
    const float* page = in.pages[position / kPagePositions] + in.page_offset;
    return page[(kv_head * shape.head_dim + i) * kPagePositions + position % kPagePositions];
  };
  const auto value = [&](int64_t position, int64_t i) {
    const float* page = in.pages[position / kPagePositions] + in.page_offset;
    const float* values = page + shape.kv_heads * shape.head_dim * kPagePositions;
    return values[(kv_head * kPagePositions + position % kPagePositions) * shape.value_stride() + i];
  };
  float* weights = in.scratch;
  for (int64_t p = 0; p < in.positions; ++p) {
    weights[p] = 0;
    for (int64_t i = 0; i < shape.head_dim; ++i) weights[p] = std::fma(query[i], key(p, i), weights[p]);
  }
  const float max = *std::max_element(weights, weights + in.positions);
  float sums[16] = {};
  for (int64_t p = 0; p < in.positions; ++p) {
    weights[p] = exp((weights[p] - max) * shape.scale);
    sums[p % 16] += weights[p];
  }
  const float total = sum16(sums);
  for (int64_t i = 0; i < shape.head_dim; ++i) {
    float chains[4] = {};
    for (int64_t p = 0; p < in.positions; ++p)
      chains[p % 4] = std::fma(weights[p], value(p, i), chains[p % 4]);
    output[head * shape.head_dim + i] = ((chains[0] + chains[1]) + (chains[2] + chains[3])) / total;
  }
}

}  // namespace

void attention_row(const AttentionShape& shape, const AttentionInput& in, float* output) {
  for (int64_t h = 0; h < shape.heads; ++h) head_row(shape, in, h, output);
}

}  // namespace fulcrum::kernels::reference
