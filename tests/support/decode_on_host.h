// An accelerator of the host: a table of DecodeKernels whose memory is the host's and whose kernels are the
// CUDA sources, run thread by thread (cuda_on_host.h). Work between begin_capture() and end_capture() is
// recorded with its arguments and replayed by launch(), so that an argument which ought to change shows. Used
// by tests, from one thread at a time.
#pragma once

#include <cstdint>

#include "engine/kernels/device/decode_table.h"

namespace fulcrum::testing {

struct HostDevice {
  int64_t memory = int64_t{1} << 40;  // it has in all
  int fails_at_launch = 0;            // what launch() returns, if not 0
  // What happened.
  int64_t allocated = 0;  // bytes, now
  int64_t synchronisations = 0, graphs = 0, launches = 0, copies = 0;
  int64_t tokens_embedded = 0;
};

// The device, as new: nothing counted. Memory that is still held stays counted.
HostDevice& new_host_device();
HostDevice& host_device();
const kernels::DecodeKernels& host_decode_kernels();

}  // namespace fulcrum::testing
