// fp32 tensors between LibTorch and the files' TensorMap. Used by the learner's files. Pure functions.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "engine/core/status.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

TensorView copy_out(const at::Tensor& tensor);
// The values of map[name], shaped like `like` and where it is. kInvalidArgument naming the tensor if it is
// missing or misshapen.
Result<at::Tensor> copy_in(const TensorMap& map, const std::string& name, const at::Tensor& like);

}  // namespace fulcrum
