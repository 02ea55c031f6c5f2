#include "engine/kernels/device/cuda_ops.h"
#include "engine/kernels/device/launch.h"

namespace fulcrum::kernels {
namespace {

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

constexpr DeviceKernels kKernels = {
    .error_text = error_text,
    .rmsnorm = cuda::rmsnorm,
    .rmsnorm_backward = cuda::rmsnorm_backward,
    .swiglu = cuda::swiglu,
    .swiglu_backward = cuda::swiglu_backward,
    .rope = cuda::rope,
    .token_losses = cuda::token_losses,
    .token_loss_gradients = cuda::token_loss_gradients,
    .divergences = cuda::divergences,
    .divergence_gradients = cuda::divergence_gradients,
    .norm = cuda::norm,
    .adamw = cuda::adamw,
    .weight_changes = cuda::weight_changes,
    .piece_hashes = cuda::piece_hashes,
};

}  // namespace

const DeviceKernels& cuda_kernels() { return kKernels; }

}  // namespace fulcrum::kernels
