// The kernels of an accelerator as plain functions over its memory: each is the row kernel of its folder
// (engine/kernels/<op>/op.h gives the formula) over all rows of a tensor. The CUDA plugin hands them over
// (plugin.h), tests put others in their place; policy/nn and engine/learner call them where a tensor is not
// on the CPU, and do the same in LibTorch's own operations where there are none.
//
// All pointers are into the device's memory unless a comment says otherwise. A call puts its work on `stream`
// (a cudaStream_t), reads its arguments before it returns, and neither waits nor allocates. It returns 0, or
// the runtime's error, for which error_text() has words. Sums of a row do not depend on the other rows, and
// two calls with the same numbers give the same bits.
#pragma once

#include <cstdint>

#include "engine/divergence/generators/options.h"
#include "engine/kernels/adamw/op.h"
#include "engine/kernels/piece_hashes/op.h"
#include "engine/kernels/weight_changes/op.h"

namespace fulcrum::kernels {

using DeviceStream = void*;

// What a product reads next is written in the product's type.
enum class ActivationType : int32_t { kF32, kBf16 };

struct NormRows {
  const float* x = nullptr;       // [rows, n]
  const float* weight = nullptr;  // [n]
  int64_t rows = 0, n = 0;
  float epsilon = 0;
};

// Rows a block of rmsnorm_backward adds up before others do: few, so that a batch of some thousand tokens
// gives every multiprocessor a block.
inline constexpr int64_t kNormGradientRows = 16;

// Rotates the first `heads` heads of each row, in place.
struct RopeRows {
  float* x = nullptr;  // [rows, stride]
  int64_t rows = 0, stride = 0, heads = 0, head_dim = 0;
  const float* cosines = nullptr;  // [rows, head_dim / 2]
  const float* sines = nullptr;
  bool inverse = false;  // back again: the gradient's way
};

struct LossRows {
  float* logits = nullptr;  // [rows, n], before the temperature
  int64_t rows = 0, n = 0;
  float temperature = 1;
  const int64_t* ids = nullptr;  // [rows]
};

struct DivergenceRows {
  int32_t entry = 0;          // of the table of generators
  DivergenceOptions options;  // of the host
  float* policy = nullptr;    // [rows, n] logits over the temperature
  float* reference = nullptr;
  int64_t rows = 0, n = 0;
  const double* policy_lse = nullptr;     // [rows]
  const double* reference_lse = nullptr;  // [rows]
};

// One of the tensors that are trained together, and where its numbers lie, [n] each.
struct TrainedTensor {
  const float* gradient = nullptr;  // null: 0
  float* weights = nullptr;
  float* first = nullptr;  // moments
  float* second = nullptr;
  int64_t n = 0;
  int64_t first_piece = 0;  // of the list's pieces: as many as the tensors before it have
  void* rounded = nullptr;  // [n] of `rounded_as`: gets the weights rounded to bf16; null: nothing does
  ActivationType rounded_as = ActivationType::kBf16;
  int32_t decays = 0;  // 0: the weight decay is not for it
  bool operator==(const TrainedTensor&) const = default;
};
// A tensor has ceil(n / kTrainedPiece) pieces.
inline constexpr int64_t kTrainedPiece = 8192;

struct TrainedList {
  const TrainedTensor* tensors = nullptr;  // [count], in the device's memory
  int64_t count = 0, pieces = 0;           // pieces of all of them
};

// Gradients are scaled to the norm `most` where theirs is larger (0: never). Nothing is written unless all
// norms, of the sets that step together, are finite and one of them is not 0.
struct Clip {
  const double* norms = nullptr;  // [count], in the device's memory
  int64_t count = 0, own = 0;     // own: that of the list
  double most = 0;
};

// Where weight_changes() writes; in the device's memory.
struct ChangedWeights {
  int64_t* begins = nullptr;        // [pieces + 1]: where each piece's changes begin, and how many there are
  WeightChange* changes = nullptr;  // [capacity]: those that there is room for, piece after piece
  int64_t capacity = 0;
};

// What norm() needs room for.
inline constexpr int64_t kSquareSums = 256;

struct DeviceKernels {
  const char* (*error_text)(int error);

  // y: [rows, n] of `type`.
  int (*rmsnorm)(const NormRows& in, ActivationType type, void* y, DeviceStream stream);
  // `y` is written again, dx added to; d_weight_blocks: [ceil(rows / kNormGradientRows), n], written: each
  // block's sum over its rows, in their order.
  int (*rmsnorm_backward)(const NormRows& in, const float* dy, ActivationType type, void* y, float* dx,
                          float* d_weight_blocks, DeviceStream stream);
  // gate_up: [rows, 2 n], the gate first. y: [rows, n] of `type`.
  int (*swiglu)(const float* gate_up, int64_t rows, int64_t n, ActivationType type, void* y,
                DeviceStream stream);
  // dy: [rows, n]; d_gate_up: [rows, 2 n]; y: the forward pass's output again, of `type`; it may be dy where
  // both are fp32.
  int (*swiglu_backward)(const float* gate_up, const float* dy, int64_t rows, int64_t n, ActivationType type,
                         float* d_gate_up, void* y, DeviceStream stream);
  int (*rope)(const RopeRows& in, DeviceStream stream);

  // token_loss() of each row; entropies may be null.
  int (*token_losses)(const LossRows& in, float* logps, double* lse, float* entropies, DeviceStream stream);
  // token_loss_backward() of each row, over the logits.
  int (*token_loss_gradients)(const LossRows& in, const double* lse, const float* coefficients,
                              DeviceStream stream);

  // D_f(pi || p) of each row in the centred form, in fp32 where all of a row's log-ratios lie within 20, else
  // in double.
  int (*divergences)(const DivergenceRows& in, float* out, DeviceStream stream);
  // RowDivergence::gradient() of each row, over the policy's logits; the reference's are spent.
  int (*divergence_gradients)(const DivergenceRows& in, const float* d_logps, const float* d_divergences,
                              const int64_t* ids, DeviceStream stream);

  // The norm of all gradients of the list together; sums: [kSquareSums], written. Infinite or NaN where a
  // gradient is.
  int (*norm)(const TrainedList& list, double* sums, double* norm, DeviceStream stream);
  // adamw() of engine/kernels/adamw on every tensor of the list. The scale of the gradients is made of
  // `clip`, not the step's; `kept` is 1 where nothing decays.
  int (*adamw)(const TrainedList& list, const AdamwStep& step, const Clip& clip, DeviceStream stream);
  // weight_changes() of engine/kernels/weight_changes on every piece of the list: `weights` against
  // `rounded`, in bf16, which gets all of them, there being room for the changes or not.
  int (*weight_changes)(const TrainedList& list, const ChangedWeights& out, DeviceStream stream);
  // piece_hashes() of engine/kernels/piece_hashes of whole pieces; `values` at a multiple of 8 bytes.
  int (*piece_hashes)(const uint16_t* values, int64_t pieces, uint64_t* hashes, DeviceStream stream);
};

// Those of this process; null: there are none. Set once, before any other thread computes.
const DeviceKernels* device_kernels();
void use_device_kernels(const DeviceKernels* kernels);

}  // namespace fulcrum::kernels
