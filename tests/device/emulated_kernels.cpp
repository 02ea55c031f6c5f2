#include "tests/device/emulated_kernels.h"

#include <atomic>

#include "engine/kernels/device/cuda_ops.h"
#include "tests/support/decode_on_host.h"
#include "tests/support/far_device.h"

namespace fulcrum::testing {
namespace {

using kernels::DeviceKernels;

std::atomic<int64_t> called = 0;

// The kernel of the table, with the far memory open.
template <auto kKernel>
struct Open;
template <class... Arguments, int (*DeviceKernels::*kKernel)(Arguments...)>
struct Open<kKernel> {
  static int call(Arguments... arguments) {
    ++called;
    const FarAccess access;
    return (kernels::cuda_kernels().*kKernel)(arguments...);
  }
};
#define OPEN(kernel) &Open<&DeviceKernels::kernel>::call

const DeviceKernels kOpened = {kernels::cuda_kernels().error_text,
                               OPEN(rmsnorm),
                               OPEN(rmsnorm_backward),
                               OPEN(swiglu),
                               OPEN(swiglu_backward),
                               OPEN(rope),
                               OPEN(token_losses),
                               OPEN(token_loss_gradients),
                               OPEN(divergences),
                               OPEN(divergence_gradients),
                               OPEN(norm),
                               OPEN(adamw),
                               OPEN(weight_changes),
                               OPEN(piece_hashes)};

// The same of a decode step's.
template <auto kFunction>
struct OpenDecode;
template <class... Arguments, int (*kernels::DecodeKernels::*kFunction)(Arguments...)>
struct OpenDecode<kFunction> {
  static int call(Arguments... arguments) {
    const FarAccess access;
    return (host_decode_kernels().*kFunction)(arguments...);
  }
};
#define OPEN_DECODE(table, function) table.function = &OpenDecode<&kernels::DecodeKernels::function>::call

}  // namespace

const kernels::DecodeKernels& opened_decode_kernels() {
  static const kernels::DecodeKernels table = [] {
    kernels::DecodeKernels out = host_decode_kernels();
    OPEN_DECODE(out, upload);
    OPEN_DECODE(out, launch);
    OPEN_DECODE(out, product);
    OPEN_DECODE(out, embed);
    OPEN_DECODE(out, rope_and_store);
    OPEN_DECODE(out, attend);
    OPEN_DECODE(out, draw);
    OPEN_DECODE(out, rmsnorm);
    OPEN_DECODE(out, swiglu);
    return out;
  }();
  return table;
}

EmulatedKernels::EmulatedKernels() { kernels::use_device_kernels(&kOpened); }

int64_t EmulatedKernels::calls() { return called; }

}  // namespace fulcrum::testing
