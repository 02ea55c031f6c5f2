// Where a model learns: the CPU, or a GPU through LibTorch's CUDA library and our kernels for it
// (engine/kernels/device). Called by the learner, the plan and whoever makes a Policy for one. Thread-safe.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "engine/core/status.h"

namespace fulcrum {

// "cpu"; "cuda": this rank's GPU (LOCAL_RANK, else the first); "auto": the GPU if one can be used, else the
// CPU. Anything else is LibTorch's name of a device. A GPU's libraries are loaded here, once; a warning says
// why "auto" leaves a GPU alone that is there, and why one is used without our kernels.
// kFailedPrecondition: there is no GPU, or what it needs is missing.
Result<at::Device> open_device(const std::string& name);

// Hands memory that LibTorch's allocator keeps for later back to a GPU; waits for it.
void give_back_reserve();

// Until what was asked of it is done. Nothing to do on the CPU.
void wait_for(at::Device device);

}  // namespace fulcrum
