// A stream of a device with what belongs to it, given back by itself: recorded work, and what products need.
// Called by policy/decode/device. One user at a time.
#pragma once

#include <memory>
#include <utility>

#include "engine/core/status.h"
#include "engine/kernels/device/decode_table.h"
#include "policy/decode/device/memory.h"

namespace fulcrum {

class DeviceWork {
 public:
  // On `device`, which this thread uses from now on. `products`: whether it multiplies in an
  // order that is left open.
  static Result<std::unique_ptr<DeviceWork>> make(const kernels::DecodeKernels& kernels, int32_t device,
                                                  bool products) {
    std::unique_ptr<DeviceWork> work(new DeviceWork(kernels));
    TRY_DO(device_status(kernels, kernels.use_device(device), "device " + std::to_string(device)));
    TRY_DO(device_status(kernels, kernels.make_stream(&work->stream_), "no stream"));
    if (!products) return work;
    TRY_DO(device_status(kernels, kernels.make_products(work->stream_, &work->products_), "no products"));
    return work;
  }
  ~DeviceWork() {
    if (products_ != nullptr) kernels_.destroy_products(products_);
    if (stream_ != nullptr) kernels_.destroy_stream(stream_);
  }
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;

  kernels::DeviceStream stream() const { return stream_; }
  kernels::DeviceProducts products() const { return products_; }

 private:
  explicit DeviceWork(const kernels::DecodeKernels& kernels) : kernels_(kernels) {}

  const kernels::DecodeKernels& kernels_;
  kernels::DeviceStream stream_ = nullptr;
  kernels::DeviceProducts products_ = nullptr;
};

struct FreeGraph {
  void (*destroy)(kernels::DeviceGraph) = nullptr;
  void operator()(kernels::DeviceGraph graph) const { destroy(graph); }
};
using OwnedGraph = std::unique_ptr<void, FreeGraph>;

}  // namespace fulcrum
