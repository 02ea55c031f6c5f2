// Attention over packed tokens off the CPU. Called by attention.cpp.
//
// In bf16, for heads that it takes, LibTorch's flash attention over sequences of any lengths, in two calls
// whose outputs are merged by their log sums: every prompt and every completion causally over itself, and the
// completions of a group over their prompt. Else one group after the other with its scores written out, in
// fp32.
#pragma once

#include <memory>

#include "policy/nn/attention.h"

namespace fulcrum {

std::shared_ptr<const AttentionContext> device_attention(const ModelSpec& spec, const TrainBatch& batch,
                                                         at::Device device, at::ScalarType dtype);

}  // namespace fulcrum
