// Clipping by the norm of all gradients and one AdamW update of every weight.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>

#include "bench/ours/op.h"
#include "engine/learner/adamw.h"
#include "policy/weights/safetensors.h"

namespace fulcrum::bench {
namespace {

Result<at::Tensor> tensor_of(const TensorView& from) {
  TRY(values, to_float(from));
  return at::from_blob(values.data(), from.shape, at::kFloat).clone();
}

}  // namespace

Status optimizer(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  TRY(weights, read_safetensors(options.at("weights").get<std::string>()));
  TRY(gradients, read_safetensors(options.at("gradients").get<std::string>()));
  NamedTensors parameters;
  for (const auto& [name, stored] : weights.tensors) {
    TRY(leaf, tensor_of(stored));
    TRY(gradient, tensor_of(gradients.tensors.at(name)));
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = gradient;
    parameters.emplace_back(name, leaf);
  }
  weights = gradients = {};
  LearnerConfig config;
  config.weight_decay = options.at("weight_decay").get<double>();
  AdamW adamw(parameters, config);
  const auto learning_rate = options.at("learning_rate").get<double>();
  bool first = true;
  return serve([&]() -> Result<Json> {
    const double norm = gradient_norm(parameters);
    adamw.step(learning_rate, clip_factor(norm, config.max_grad_norm));
    Json said = {{"norm", norm}};
    if (std::exchange(first, false)) {
      said["probe"] = 0.0;
      for (const auto& [name, leaf] : parameters) {
        const at::Tensor w = leaf.detach();
        said["probe"] = said["probe"].get<double>() + (w * w.abs()).sum(at::kDouble).item<double>();
      }
    }
    return said;
  });
}

}  // namespace fulcrum::bench
