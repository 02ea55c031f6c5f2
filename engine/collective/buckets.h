// Tensors that are summed together: small ones travel as one, in the order they are given in, so that the
// sums have one order. Called by C10dCollective and DeviceSums. Pure.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace fulcrum {

// Of one type and one device, and not all of them empty.
using Bucket = std::vector<at::Tensor>;

std::vector<Bucket> buckets_of(std::span<const at::Tensor> tensors);

// The bucket's numbers on `where`, [n] and contiguous: the only tensor itself if it is so, else a copy.
at::Tensor flat(const Bucket& bucket, at::Device where);
// Puts what flat() gave back, unless it was the tensor itself.
void copy_back(const at::Tensor& flat_n, const Bucket& bucket);

}  // namespace fulcrum
