// How kernels go through tensors that are trained together (TrainedList, table.h) in one launch: pieces of
// kTrainedPiece numbers, each of one tensor, are dealt to the blocks in turn. Called by the op_cuda.cu files
// of adamw, sum_of_squares and weight_changes.
#pragma once

#include "engine/kernels/device/rows.cuh"

namespace fulcrum::kernels::cuda {

// The tensor that has the piece, which the list has.
__device__ __forceinline__ int64_t tensor_with(const TrainedList& list, int64_t piece) {
  int64_t low = 0, high = list.count - 1;  // an empty tensor begins where the next one does
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (list.tensors[middle].first_piece <= piece) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Calls f(tensor, begin, end, piece) for this block's pieces: the numbers [begin, end) of a tensor.
template <class F>
__device__ __forceinline__ void for_pieces(const TrainedList& list, const F& f) {
  for (int64_t piece = blockIdx.x; piece < list.pieces; piece += gridDim.x) {
    const TrainedTensor tensor = list.tensors[tensor_with(list, piece)];
    const int64_t begin = (piece - tensor.first_piece) * kTrainedPiece;
    const int64_t end = begin + kTrainedPiece < tensor.n ? begin + kTrainedPiece : tensor.n;
    f(tensor, begin, end, piece);
  }
}

}  // namespace fulcrum::kernels::cuda
