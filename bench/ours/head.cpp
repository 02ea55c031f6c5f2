// The output head with its loss, and with an exact divergence from a reference: forward and backward, chunk
// after chunk as the learner goes over the parts of a micro-batch.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "bench/ours/op.h"
#include "engine/divergence/divergence.h"
#include "policy/nn/policy.h"
#include "policy/nn/token_divergences.h"
#include "policy/weights/safetensors.h"

namespace fulcrum::bench {
namespace {

Result<at::Tensor> floats(const Safetensors& file, const std::string& name) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) return not_found("the inputs have no tensor '" + name + "'");
  TRY(values, to_float(found->second));
  return at::from_blob(values.data(), found->second.shape, at::kFloat).clone();
}

double probe(const at::Tensor& gradient, const at::Tensor& direction) {
  return gradient.flatten().to(at::kDouble).dot(direction.flatten().to(at::kDouble)).item<double>();
}

}  // namespace

Status head(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  TRY(file, read_safetensors(options.at("inputs").get<std::string>()));
  TRY(hidden, floats(file, "hidden"));
  TRY(weight, floats(file, "weight"));
  TRY(ids, floats(file, "ids"));
  TRY(coefficient, floats(file, "coefficient"));
  TRY(reference_hidden, floats(file, "reference_hidden"));
  TRY(hidden_probe, floats(file, "hidden_probe"));
  TRY(weight_probe, floats(file, "weight_probe"));
  if (options.at("dtype") ==
      "bf16") {  // as a policy in bf16 has them: hidden states in bf16, rounded weights
    for (at::Tensor* x : {&hidden, &weight, &reference_hidden}) *x = x->to(at::kBFloat16);
    weight = weight.to(at::kFloat);
  }
  TRY(divergence, make_divergence(options.at("divergence").get<std::string>()));
  const int64_t targets = options.value("targets", ids.numel());
  for (at::Tensor* x : {&hidden, &ids, &coefficient, &reference_hidden, &hidden_probe})
    *x = x->narrow(0, 0, targets).clone();
  const at::Tensor reference_weight = weight.clone(), ids_N = ids.to(at::kLong);
  weight.set_requires_grad(true);
  const bool loss_only = options.at("kind") == "loss";
  const int64_t chunk = options.at("chunk").get<int64_t>();
  bool first = true;
  return serve([&]() -> Result<Json> {
    HeadMemory memory{.weight_gradient_VD = at::zeros_like(weight.detach())};
    const at::Tensor d_hidden = at::empty_like(hidden.detach());
    double value = 0;
    for (int64_t begin = 0; begin < targets; begin += chunk) {
      const int64_t n = std::min(chunk, targets - begin);
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, n); };
      const at::Tensor leaf = part(hidden.detach()).clone().set_requires_grad(true);
      const at::Tensor value_n =
          loss_only ? token_logps(leaf, weight, part(ids_N), 1, chunk, nullptr, &memory)
                    : token_divergences({leaf, weight}, {part(reference_hidden), reference_weight},
                                        part(ids_N), divergence, 1, chunk, &memory)
                          .divergence_N;
      const at::Tensor loss = (value_n * part(coefficient)).sum() / static_cast<double>(targets);
      loss.backward();
      part(d_hidden).copy_(leaf.grad());
      value += loss.item<double>();
    }
    Json said = {{"value", value}};
    if (std::exchange(first, false)) {
      said["hidden_probe"] = probe(d_hidden, hidden_probe);
      said["weight_probe"] = probe(memory.weight_gradient_VD, weight_probe);
    }
    return said;
  });
}

}  // namespace fulcrum::bench
