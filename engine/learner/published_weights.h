// The policy's weights as those who generate in bf16 get them, version after version. On the CPU each version
// is rounded from the leaves. Of leaves on a device with kernels the last version lies there too, rounded: a
// kernel finds what has changed since, and that alone crosses to the host and is put into the last version
// here. All of it crosses for the first version, and where changes would be more bytes or nearly.
//
// Whatever crossed, both sides are compared each time, by hashes of every piece: what workers verify is what
// the device found of its own weights. Called by the learner. Not thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "engine/core/status.h"
#include "engine/learner/device_adamw.h"
#include "engine/publish/flat_weights.h"
#include "policy/nn/policy.h"

namespace fulcrum {

class PublishedWeights {
 public:
  // Of the leaves as they are now, in whatever way they came to be so. kDataLoss naming a tensor: the host
  // has other weights than the device. After an error, and an exception of LibTorch, all of the next one
  // crosses.
  Result<std::shared_ptr<const FlatWeights>> next(const NamedTensors& leaves);

 private:
  // What a kernel has found, on the device: of ChangedWeights (engine/kernels/device/table.h), and hashes.
  struct Found {
    at::Tensor begins, changes, hashes;
  };
  Found round_there(const NamedTensors& leaves, const FlatLayout& layout, const at::Tensor& image,
                    int64_t room);
  // `image`: the last version on the device, which becomes this one; with nothing `before` it is made.
  Result<FlatWeights> from_device(const NamedTensors& leaves, const FlatWeights* before, at::Tensor& image);

  // Both of the last version, or neither.
  std::shared_ptr<const FlatWeights> here_;
  at::Tensor there_;
  device::TrainedSet list_;
};

}  // namespace fulcrum
