// The kernels of a decode step as their files (engine/kernels/<op>/decode_cuda.cu) define them: what a table
// of DecodeKernels is filled with. Called by cuda_decode_table.cu and, on the CPU, by tests.
#pragma once

#include "engine/kernels/device/decode_table.h"

namespace fulcrum::kernels {

namespace cuda {

int embed_rows(const EmbedRows& in, DeviceStream stream);
int rope_and_store(const RopeAndStore& in, DeviceStream stream);
int attend_rows(const AttendRows& in, DeviceStream stream);
int draw_rows(const DrawRows& in, DeviceStream stream);

// The product in a fixed order: in bf16 by tensor cores, in fp32 each weight read once for kProductRows rows.
inline constexpr int64_t kProductRows = 16;
int product_rows(const Product& in, DeviceStream stream);
// In bf16, of inputs whose number is a multiple of 8.
int product_rows_bf16(const Product& in, DeviceStream stream);

}  // namespace cuda

// Of the device's own memory, streams and graphs: in the plugin alone.
const DecodeKernels& cuda_decode_kernels();

}  // namespace fulcrum::kernels
