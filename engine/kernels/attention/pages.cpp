#include <algorithm>

#include "engine/kernels/attention/op.h"

namespace fulcrum::kernels {

void store_key_value(const AttentionShape& shape, const float* keys, const float* values, float* page,
                     int64_t slot) {
  for (int64_t i = 0; i < shape.kv_heads * shape.head_dim; ++i) page[i * kPagePositions + slot] = keys[i];
  float* to = page + shape.kv_heads * shape.head_dim * kPagePositions + slot * shape.value_stride();
  for (int64_t h = 0; h < shape.kv_heads; ++h) {
    std::copy_n(values + h * shape.head_dim, shape.head_dim, to + h * kPagePositions * shape.value_stride());
  }
}

}  // namespace fulcrum::kernels
