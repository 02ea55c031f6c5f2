// Clipping by the norm of all gradients and one AdamW update of every weight; with `rounded`, copies of them
// in bf16 too.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>

#include "bench/ours/device.h"
#include "bench/ours/op.h"
#include "engine/learner/adamw.h"
#include "policy/nn/device.h"
#include "policy/weights/safetensors.h"

namespace fulcrum::bench {
namespace {

Result<at::Tensor> tensor_of(const TensorView& from) {
  TRY(values, to_float(from));
  return at::from_blob(values.data(), from.shape, at::kFloat).clone();
}

Result<NamedTensors> read_parameters(const Json& options) {
  TRY(weights, read_safetensors(options.at("weights").get<std::string>()));
  TRY(gradients, read_safetensors(options.at("gradients").get<std::string>()));
  NamedTensors out;
  for (const auto& [name, stored] : weights.tensors) {
    TRY(leaf, tensor_of(stored));
    TRY(gradient, tensor_of(gradients.tensors.at(name)));
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = gradient;
    out.emplace_back(name, leaf);
  }
  return out;
}

// As bench/peers/optimizer.py makes them, of these shapes.
NamedTensors make_parameters(const Json& shapes, at::Device device) {
  NamedTensors out;
  uint64_t seed = 0;
  for (const Json& shape : shapes) {
    const auto sizes = shape.get<std::vector<int64_t>>();
    at::Tensor leaf = made_normal(device, sizes, ++seed).mul_(0.02).set_requires_grad(true);
    leaf.mutable_grad() = made_normal(device, sizes, ++seed);
    out.emplace_back(std::to_string(seed), leaf);
  }
  return out;
}

}  // namespace

Status optimizer(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  TRY(device, device_of(options));
  NamedTensors parameters;
  if (options.contains("made")) {
    parameters = make_parameters(options.at("made"), device);
  } else {
    TRY(read, read_parameters(options));
    parameters = std::move(read);
  }
  LearnerConfig config;
  config.weight_decay = options.at("weight_decay").get<double>();
  AdamW adamw(parameters, config);
  const auto learning_rate = options.at("learning_rate").get<double>();
  std::vector<at::Tensor> rounded;
  if (options.value("rounded", false)) {
    for (const auto& [name, leaf] : parameters) rounded.push_back(leaf.detach().to(at::kBFloat16));
  }
  bool first = true;
  watch_memory(device);
  return serve([&]() -> Result<Json> {
    const AdamW::Clipped update{adamw, learning_rate, config.max_grad_norm, rounded};
    const AdamW::Stepped stepped = AdamW::step_clipped({&update, 1});
    for (size_t i = 0; i < rounded.size() && !stepped.rounded; ++i)
      rounded[i].copy_(parameters[i].second.detach());
    const double norm = stepped.norms.at(0);
    wait_for(device);
    Json said = {{"norm", norm}, {"peak_mib", peak_mib(device)}};
    if (std::exchange(first, false)) {
      // Each weight has gone by the learning rate against the sign of its gradient, however the signs fall.
      double along = 0, count = 0;
      for (const auto& [name, leaf] : parameters) {
        along += (leaf.detach() * leaf.grad().sign()).sum(at::kDouble).item<double>();
        count += static_cast<double>(leaf.numel());
      }
      said["probe"] = along;
      said["probe_scale"] = learning_rate * count;
    }
    return said;
  });
}

}  // namespace fulcrum::bench
