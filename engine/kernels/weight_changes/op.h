// Which weights of a model have changed since they were published, in bf16: fp32 weights are rounded (to
// nearest, ties to even) and compared with the bf16 ones that were published last, which become the new ones.
// What comes out is 4 bytes a changed weight, in the order of the weights, so that a host which has the ones
// before can make the ones after without reading all of them, and their difference (engine/publish/delta.h)
// too. Weights are counted in pieces of kTrainedPiece (engine/kernels/device/table.h).
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

// A changed weight: its place in its piece in the lower half, its bf16 bits now in the upper one.
using WeightChange = uint32_t;

namespace reference {
// Of one piece, of n weights. Gives how many there are; `changes` has room for n.
int64_t weight_changes(const float* weights, int64_t n, uint16_t* published, WeightChange* changes);
}  // namespace reference

}  // namespace fulcrum::kernels
