// The functions of the CUDA kernels' folders, one a member of DeviceKernels (table.h says what each does),
// and the table of them. Called by cuda_table.cu, and by tests over the emulation. Thread-safe.
#pragma once

#include <cstdint>

#include "engine/kernels/device/table.h"

namespace fulcrum::kernels {

namespace cuda {

int rmsnorm(const NormRows& in, ActivationType type, void* y, DeviceStream stream);
int rmsnorm_backward(const NormRows& in, const float* dy, ActivationType type, void* y, float* dx,
                     float* d_weight_blocks, DeviceStream stream);
int swiglu(const float* gate_up, int64_t rows, int64_t n, ActivationType type, void* y, DeviceStream stream);
int swiglu_backward(const float* gate_up, const float* dy, int64_t rows, int64_t n, ActivationType type,
                    float* d_gate_up, void* y, DeviceStream stream);
int rope(const RopeRows& in, DeviceStream stream);
int token_losses(const LossRows& in, float* logps, double* lse, float* entropies, DeviceStream stream);
int token_loss_gradients(const LossRows& in, const double* lse, const float* coefficients,
                         DeviceStream stream);
int divergences(const DivergenceRows& in, float* out, DeviceStream stream);
int divergence_gradients(const DivergenceRows& in, const float* d_logps, const float* d_divergences,
                         const int64_t* ids, DeviceStream stream);
int norm(const TrainedList& list, double* sums, double* norm, DeviceStream stream);
int adamw(const TrainedList& list, const AdamwStep& step, const Clip& clip, DeviceStream stream);
int weight_changes(const TrainedList& list, const ChangedWeights& out, DeviceStream stream);
int piece_hashes(const uint16_t* values, int64_t pieces, uint64_t* hashes, DeviceStream stream);

}  // namespace cuda

const DeviceKernels& cuda_kernels();

}  // namespace fulcrum::kernels
