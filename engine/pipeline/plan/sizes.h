// How many bytes the pieces of a run take, from shapes alone. Called by memory.cpp. Torch-free, pure.
#pragma once

#include <cstdint>

#include "engine/pipeline/plan/workload.h"

namespace fulcrum {

inline constexpr int64_t kFloat = 4;

// A model of nn: the fp32 leaves and, with bf16, what the forward pass uses in their place: the matrices
// inside of the layers in bf16, the others rounded in fp32.
int64_t learner_model_bytes(const ModelSpec& spec, bool bf16);

// A model of the decoder. In fp32 it shares the embedding with the published weights; in bf16 it has a copy
// of the rounded values, in fp32.
int64_t decode_model_bytes(const ModelSpec& s, DType dtype);

// Keys and values of the sequences that are generated at a time; full pages of a prompt are shared by its
// group.
int64_t cache_bytes(const Workload& w, int64_t at_a_time);

// The decoder's rows and logits, and each group's logits after its prompt.
int64_t decoder_buffer_bytes(const Workload& w, int64_t at_a_time);

// A GPU's generator (policy/decode/device): pages for as many of the longest completions as run at a time and
// a prompt beside them, fewer where memory is short, and what there must be besides.
struct DeviceGeneration {
  int64_t model = 0, cache = 0, buffers = 0;
};
DeviceGeneration device_generation_bytes(const Workload& w, int64_t at_a_time);

// `logits` are buffers that the learner keeps from step to step on the CPU; on a device the allocator gives
// their room to the backward pass of the layers, whose `temporary` comes after them.
struct Activations {
  int64_t saved = 0, logits = 0, temporary = 0;
  int64_t largest() const { return saved + temporary; }
};
Activations activations_of(const Workload& w);

// The share of a micro-batch's tensors that malloc takes from its heap: those below the 32 MiB above which
// every block is a mapping of its own, given back when it is freed.
double heap_share(const Workload& w);

// What the heap holds beside the tensors in it: blocks of other sizes that were freed and fit none that came
// later, above all where gradients, which stay, are made among activations, which go. Measured with
// glibc 2.36 over seven shapes: 0.2 of the tensors in one micro-batch, 0.3 in several, 0.3 to 1.6 where each
// layer is computed again; the factors lie above that, for shapes that do worse. With a fixed
// M_MMAP_THRESHOLD it is gone, and so is a third of the speed.
double heap_waste(const Workload& w);

}  // namespace fulcrum
