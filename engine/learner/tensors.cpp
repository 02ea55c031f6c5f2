#include "engine/learner/tensors.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "engine/core/text.h"

namespace fulcrum {

TensorView copy_out(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().contiguous();
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
  at::Tensor out = at::empty(like.sizes(), at::kFloat);
  std::memcpy(out.mutable_data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return out;
}

}  // namespace fulcrum
