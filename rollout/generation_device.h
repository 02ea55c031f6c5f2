// Where completions are generated: this machine's cores, or a GPU by the plugin's kernels. Needs no LibTorch.
// Called by the pipeline, the worker and the verbs that generate. Thread-safe.
#pragma once

#include <string>

#include "engine/core/status.h"
#include "policy/decode/device/options.h"

namespace fulcrum {

// "cpu"; "cuda": this rank's GPU (LOCAL_RANK, else the first); "auto": a GPU if one can be used, else the
// CPU, with a warning where there is one that cannot. Any other name, of a device that only LibTorch knows:
// the CPU. kFailedPrecondition: there is no GPU, no plugin of this build, or the runtime refuses the GPU,
// which is tried.
Result<DeviceOptions> generation_device(const std::string& name);

// Two workers with the same text draw the same tokens (rollout/fingerprint.h). Of a GPU.
std::string device_fingerprint(const DeviceOptions& device, const std::string& dtype);

}  // namespace fulcrum
