// The table of NCCL's sums. Called by cuda_plugin.cu. Thread-safe.
#pragma once

#include "engine/kernels/device/group_table.h"

namespace fulcrum::kernels {

const DeviceGroup& cuda_group();

}  // namespace fulcrum::kernels
