// How generation uses an accelerator. Read by rollout/make_generator.h and DeviceDecoder. A plain value.
#pragma once

#include <cstdint>

#include "engine/kernels/device/decode_table.h"

namespace fulcrum {

struct DeviceOptions {
  const kernels::DecodeKernels* kernels = nullptr;  // null: there is none
  int32_t device = 0;
  int64_t memory_bytes = 0;  // for keys, values and workspaces; 0: nine tenths of what is free
  // Tokens a sequence draws between two looks of the host, below kernels::kSlotDraws: the host does not wait
  // for each token, and sees a stop text that many tokens late at most.
  int64_t steps = 8;
  // A step is recorded once and replayed; otherwise each is put on the stream kernel by kernel, which is
  // slower and gives the same bits. For tests.
  bool recorded = true;
  // Of products (kernels::Product): a completion is then the same whatever the batch.
  bool fixed_order = true;
};

}  // namespace fulcrum
