// How the matrix kernels walk: panel by panel of the weights, block by block of the inputs, tiles of rows
// inside, so that a block stays in the cache while the rows pass. Included by the files that have a tile;
// pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/kernels/matmul/op.h"

namespace fulcrum::kernels {

// A step is what a panel holds side by side: an input (fp32) or a pair of inputs (bf16) of kPanelOutputs
// outputs, in words of four bytes.
inline constexpr int64_t kLineWords = 16;  // of a line of the cache
inline constexpr int64_t kStepLines = kPanelOutputs / kLineWords;

template <class Input, class Word>
struct Block {
  const Input* x;  // first row's inputs of this block
  int64_t x_stride;
  const Word* weights;  // the panel's weights of this block
  int64_t steps;
  float* y;
  int64_t y_stride;
  const Word* ahead;  // what a tile asks the memory for, some lines a step
};

// How many lines of the next block each step of a tile asks for, so that the memory works while the sums do.
// They are spread over the tiles: asked for all at once they would wait for each other. A single tile reads
// the weights once and in order, which the processor foresees by itself.
inline int lines_ahead(int64_t tiles) { return tiles == 1 ? 0 : tiles <= 3 ? 2 : 1; }

template <class Input, class Word>
struct Product {
  Block<Input, Word> all;  // x, weights and y of the first block; its steps are those of all inputs
  int64_t rows;
  int64_t first, outputs;  // outputs [first, outputs), from the beginning of a panel on
  int64_t block_steps, inputs_of_step;
};

// tile(block, rows, lines): adds one block to `rows` rows, at most kTileRows, and asks for `lines` lines a
// step from block.ahead on.
template <int64_t kTileRows, class Input, class Word, class Tile>
inline void walk(const Product<Input, Word>& p, Tile tile) {
  const int lines = lines_ahead((p.rows + kTileRows - 1) / kTileRows);
  for (int64_t n = p.first; n < p.outputs; n += kPanelOutputs) {
    for (int64_t begin = 0; begin < p.all.steps; begin += p.block_steps) {
      Block<Input, Word> b = p.all;
      b.x += begin * p.inputs_of_step;
      b.weights += n * p.all.steps + begin * kPanelOutputs;
      b.steps = std::min(p.block_steps, p.all.steps - begin);
      b.y += n;
      b.ahead = b.weights + b.steps * kPanelOutputs;
      int64_t missing = kStepLines;
      for (int64_t left = p.rows; left > 0; left -= kTileRows) {
        tile(b, std::min(left, kTileRows), missing > 0 ? lines : 0);
        missing -= lines;
        b.x += kTileRows * b.x_stride;
        b.y += kTileRows * b.y_stride;
        b.ahead += lines * b.steps * kLineWords;
      }
    }
  }
}

// Calls f.template operator()<kRows, kLines>() with the numbers as constants: sums live in registers.
template <int kTileRows, int kRows = 1, class F>
inline void with_constants(int64_t rows, int lines, F f) {
  if constexpr (kRows < kTileRows) {
    if (rows > kRows) return with_constants<kTileRows, kRows + 1>(rows, lines, f);
  }
  if (lines == 0) return f.template operator()<kRows, 0>();
  if (lines == 1) return f.template operator()<kRows, 1>();
  f.template operator()<kRows, 2>();
}

}  // namespace fulcrum::kernels
