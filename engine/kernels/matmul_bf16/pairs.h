// What both ways of add_matmul in bf16 share. Included by their two files; pure.
#pragma once

#include <cstring>

#include "engine/kernels/matmul_bf16/op.h"
#include "engine/kernels/matmul_blocks.h"

namespace fulcrum::kernels::bf16 {

using Block = kernels::Block<uint16_t, uint32_t>;

inline Product<uint16_t, uint32_t> product_of(const uint16_t* x, int64_t x_stride, int64_t rows,
                                              const PackedBf16Matrix& w, float* y, int64_t y_stride,
                                              PanelRange panels) {
  return {.all = {x, x_stride, w.panel(0), w.pairs(), y, y_stride, nullptr},
          .rows = rows,
          .first = panels.begin * kPanelOutputs,
          .outputs = std::min(w.outputs(), panels.end * kPanelOutputs),
          .block_steps = kBf16ChainInputs / 2,
          .inputs_of_step = 2};
}

// Two inputs side by side, as the weights have them.
inline uint32_t pair_at(const uint16_t* x) {
  uint32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return pair;
}

}  // namespace fulcrum::kernels::bf16
