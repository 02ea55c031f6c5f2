#include "engine/reference/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <memory>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

TensorView view_of(const at::Tensor& tensor) {
  auto owner = std::make_shared<at::Tensor>(tensor);
  const auto* data = reinterpret_cast<const std::byte*>(owner->const_data_ptr<float>());
  return {.dtype = DType::kF32,
          .shape = tensor.sizes().vec(),
          .bytes = {data, static_cast<size_t>(tensor.numel()) * sizeof(float)},
          .owner = std::move(owner)};
}

}  // namespace

TensorMap copy_tensors(const NamedTensors& tensors) {
  const at::NoGradGuard no_grad;
  TensorMap out;
  for (const auto& [name, parameter] : tensors) {
    out.emplace(name,
                view_of(parameter.detach().to(at::kCPU, at::kFloat, false, /*copy=*/true).contiguous()));
  }
  return out;
}

TensorMap copy_parameters(const Policy& policy) { return copy_tensors(policy.parameters()); }

Status set_tensors(const NamedTensors& into, const TensorMap& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<float>> values;
  for (const auto& [name, parameter] : into) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return invalid_argument("tensor " + in_quotes(name) + " is missing");
    if (at::IntArrayRef(found->second.shape) != parameter.sizes()) {
      return invalid_argument("tensor " + in_quotes(name) + " has another shape than the model's");
    }
    TRY(numbers, to_float(found->second));
    values.push_back(std::move(numbers));
  }
  if (tensors.size() != into.size()) return invalid_argument("there are tensors the model does not have");
  for (size_t i = 0; i < values.size(); ++i) {
    const at::Tensor& parameter = into[i].second;
    parameter.copy_(at::from_blob(values[i].data(), parameter.sizes(), at::kFloat));
  }
  return ok_status();
}

Status set_parameters(Policy& policy, const TensorMap& tensors) {
  TRY_DO(set_tensors(policy.parameters(), tensors));
  policy.parameters_changed();
  return ok_status();
}

Status check_same_tensors(const Policy& reference, const Policy& policy) {
  const NamedTensors &to = reference.parameters(), &from = policy.parameters();
  if (to.size() != from.size())
    return invalid_argument("the reference and the policy have different tensors");
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].first != from[i].first || to[i].second.sizes() != from[i].second.sizes()) {
      return invalid_argument("the reference and the policy differ in tensor " + in_quotes(to[i].first));
    }
  }
  return ok_status();
}

Status mix_parameters(Policy& target, const Policy& source, double alpha) {
  const at::NoGradGuard no_grad;
  TRY_DO(check_same_tensors(target, source));
  const NamedTensors &to = target.parameters(), &from = source.parameters();
  for (size_t i = 0; i < to.size(); ++i) {
    const at::Tensor& t = to[i].second;
    t.copy_(from[i].second.to(t.device(), at::kDouble) * alpha + t.to(at::kDouble) * (1 - alpha));
  }
  target.parameters_changed();
  return ok_status();
}

Result<bool> follow(Policy& reference, const Policy& policy, const MoveRule& rule, int64_t step) {
  if (rule.alpha == 0 || step % rule.every != 0) return false;
  TRY_DO(mix_parameters(reference, policy, rule.alpha));
  return true;
}

}  // namespace fulcrum
