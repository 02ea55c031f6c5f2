#include "engine/learner/tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "engine/core/text.h"

namespace fulcrum {

TensorView copy_out(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kCPU).contiguous();
  return make_tensor(values.sizes().vec(),
                     {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())});
}

Result<at::Tensor> copy_in(const TensorMap& map, const std::string& name, const at::Tensor& like) {
  const auto at = map.find(name);
  if (at == map.end()) return invalid_argument("the saved state has no tensor " + in_quotes(name));
  if (at->second.shape != like.sizes().vec()) {
    return invalid_argument("the saved state's tensor " + in_quotes(name) +
                            " has the shape of another model");
  }
  TRY(values, to_float(at->second));
  at::Tensor out = at::empty(like.sizes(), like.options().requires_grad(false));
  out.copy_(at::from_blob(values.data(), like.sizes(), at::kFloat));
  return out;
}

}  // namespace fulcrum
