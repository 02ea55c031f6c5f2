// The output head with its loss, and with an exact divergence from a reference: forward and backward, chunk
// after chunk as the learner goes over the parts of a micro-batch.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>

#include "bench/ours/device.h"
#include "bench/ours/op.h"
#include "engine/divergence/divergence.h"
#include "policy/nn/head_memory.h"
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

// A gradient along a random direction, and how long it is: errors of the one are seen beside the other.
void add_probe(Json& said, const std::string& name, const at::Tensor& gradient, const at::Tensor& direction) {
  said[name] = (gradient * direction).sum(at::kDouble).item<double>();
  said[name + "_scale"] = gradient.to(at::kFloat).norm().item<double>();
}

struct Inputs {
  at::Tensor hidden, weight, ids, coefficient, reference_hidden, hidden_probe, weight_probe;

  std::array<at::Tensor*, 5> of_targets() {
    return {&hidden, &ids, &coefficient, &reference_hidden, &hidden_probe};
  }
};

Result<Inputs> read_inputs(const Json& options) {
  TRY(file, read_safetensors(options.at("inputs").get<std::string>()));
  TRY(hidden, floats(file, "hidden"));
  TRY(weight, floats(file, "weight"));
  TRY(ids, floats(file, "ids"));
  TRY(coefficient, floats(file, "coefficient"));
  TRY(reference_hidden, floats(file, "reference_hidden"));
  TRY(hidden_probe, floats(file, "hidden_probe"));
  TRY(weight_probe, floats(file, "weight_probe"));
  return Inputs{hidden, weight, ids.to(at::kLong), coefficient, reference_hidden, hidden_probe, weight_probe};
}

// As bench/peers/head.py makes them.
Inputs make_inputs(const Json& shape, at::Device device) {
  const int64_t tokens = shape.at("tokens"), hidden = shape.at("hidden"), vocabulary = shape.at("vocabulary");
  Inputs out;
  out.hidden = made_normal(device, {tokens, hidden}, 0);
  out.weight = made_normal(device, {vocabulary, hidden}, 1).mul_(shape.at("weight_scale").get<double>());
  out.reference_hidden = made_normal(device, {tokens, hidden}, 2).mul_(0.5).add_(out.hidden);
  out.ids = made_below(device, vocabulary, {tokens}, 3);
  out.coefficient = made_normal(device, {tokens}, 4).abs_();  // no sum that is nearly 0
  if (shape.contains("coefficient")) out.coefficient.fill_(shape.at("coefficient").get<double>());
  out.hidden_probe = made_normal(device, {tokens, hidden}, 5);
  out.weight_probe = made_normal(device, {vocabulary, hidden}, 6);
  return out;
}

}  // namespace

Status head(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  TRY(device, device_of(options));
  Inputs in;
  if (options.contains("made")) {
    in = make_inputs(options.at("made"), device);
  } else {
    TRY(read, read_inputs(options));
    in = std::move(read);
  }
  // As a policy in bf16 has them: hidden states in bf16, rounded weights.
  if (options.at("dtype") == "bf16") {
    for (at::Tensor* x : {&in.hidden, &in.weight, &in.reference_hidden}) *x = x->to(at::kBFloat16);
    in.weight = in.weight.to(at::kFloat);
  }
  TRY(divergence, make_divergence(options.at("divergence").get<std::string>()));
  const int64_t targets = options.value("targets", in.ids.numel());
  for (at::Tensor* x : in.of_targets()) *x = x->narrow(0, 0, targets).clone().to(device);
  const at::Tensor weight = in.weight.to(device);
  const bool loss_only = options.at("kind") == "loss", forward_only = options.value("forward_only", false);
  const at::Tensor reference_weight = loss_only ? at::Tensor() : weight.clone();
  weight.set_requires_grad(true);
  const int64_t chunk = options.at("chunk").get<int64_t>();
  bool first = true;
  HeadMemory memory;
  if (!forward_only) memory.weight_gradient = c10::make_intrusive<WeightGradient>(weight);
  watch_memory(device);
  return serve([&]() -> Result<Json> {
    const at::AutoGradMode gradients(!forward_only);
    memory.clear();
    const at::Tensor d_hidden = at::empty_like(in.hidden.detach());
    at::Tensor total = at::zeros({}, at::TensorOptions(device));
    for (int64_t begin = 0; begin < targets; begin += chunk) {
      const int64_t n = std::min(chunk, targets - begin);
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, n); };
      const at::Tensor leaf = part(in.hidden.detach()).clone().set_requires_grad(!forward_only);
      const at::Tensor value_n =
          loss_only ? token_logps(leaf, weight, part(in.ids), 1, chunk, nullptr, &memory)
                    : token_divergences({leaf, weight}, {part(in.reference_hidden), reference_weight},
                                        part(in.ids), divergence, 1, chunk, &memory)
                          .divergence_N;
      const at::Tensor loss = (value_n * part(in.coefficient)).sum() / static_cast<double>(targets);
      if (!forward_only) {
        loss.backward();
        part(d_hidden).copy_(leaf.grad());
      }
      total.add_(loss.detach());
    }
    Json said = {{"value", total.item<double>()}, {"peak_mib", peak_mib(device)}};
    if (std::exchange(first, false) && !forward_only) {
      add_probe(said, "hidden_probe", d_hidden, in.hidden_probe.to(device));
      add_probe(said, "weight_probe", weight.grad(), in.weight_probe.to(device));
    }
    return said;
  });
}

}  // namespace fulcrum::bench
