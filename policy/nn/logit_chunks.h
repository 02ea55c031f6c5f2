// The loop over chunks of targets whose logits exist at a time. Shared by token_logps.cpp and
// token_divergences.cpp.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <string>

#include "policy/nn/head_memory.h"
#include "policy/nn/products.h"

namespace fulcrum {

// An output head over hidden states already gathered at the targets' sources.
struct Head {
  at::Tensor hidden_ND, weight_VD;
  Rounding rounding = Rounding::kNone;  // in its products, forward and backward
};

// What a head computes with, both in `dtype`: products are rounded to bf16 where the hidden states are in it.
// Off the CPU those stay in bf16, which is what its products read.
inline Head computed_in(at::ScalarType dtype, const at::Tensor& hidden_ND, const at::Tensor& weight_VD) {
  const bool bf16 = hidden_ND.scalar_type() == at::kBFloat16;
  if (bf16 && !hidden_ND.is_cpu()) dtype = at::kBFloat16;
  return {hidden_ND.to(dtype), weight_VD.to(dtype), bf16 ? Rounding::kBf16 : Rounding::kNone};
}

// Of logits, log-probs and gradients: fp32, or double where the head is.
inline at::TensorOptions sums_of(const Head& head) {
  const bool is_double = head.hidden_ND.scalar_type() == at::kDouble;
  return head.hidden_ND.options().dtype(is_double ? at::kDouble : at::kFloat).requires_grad(false);
}

// The logits of targets [begin, begin + n), head over temperature, in the first rows of `buffer`.
inline at::Tensor chunk_logits(const Head& head, double temperature, int64_t begin, int64_t n,
                               at::Tensor& buffer) {
  at::Tensor logits_nV = buffer.narrow(0, 0, n);
  product_into(logits_nV, head.hidden_ND.narrow(0, begin, n), head.weight_VD.t(), false, head.rounding);
  if (temperature != 1) logits_nV.div_(temperature);
  return logits_nV;
}

// Room for one chunk's logits: in `kept`, if given, as long as it is large enough.
inline at::Tensor chunk_buffer(const Head& head, int64_t chunk, at::Tensor* kept = nullptr) {
  const int64_t rows = std::min(chunk, head.hidden_ND.size(0));
  if (kept != nullptr && kept->defined() && kept->size(0) >= rows) return *kept;
  const at::Tensor out = at::empty({rows, head.weight_VD.size(0)}, sums_of(head));
  if (kept != nullptr) *kept = out;
  return out;
}

// Where a backward pass adds the weight's gradient: to the leaf's, of which autograd is told nothing, or to a
// sum of its own. Nowhere if nobody wants it.
struct WeightGradientOfPass {
  bool wanted = false;
  c10::intrusive_ptr<WeightGradient> of_leaf;
  at::Tensor own_VD;  // for autograd

  void add(const at::Tensor& d_logits_nV, const at::Tensor& states_nD, Rounding rounding) {
    at::Tensor no_room;
    if (of_leaf != nullptr) {
      of_leaf->add(d_logits_nV, states_nD, rounding);
    } else if (wanted) {
      add_weight_gradient(own_VD, no_room, d_logits_nV, states_nD, rounding);
    }
  }
};
inline WeightGradientOfPass weight_gradient(torch::autograd::AutogradContext& ctx) {
  WeightGradientOfPass out{.wanted = ctx.needs_input_grad(1), .of_leaf = {}, .own_VD = {}};
  const auto found = ctx.saved_data.find("weight_gradient");
  if (out.wanted && found != ctx.saved_data.end())
    out.of_leaf = c10::static_intrusive_pointer_cast<WeightGradient>(found->second.toCapsule());
  return out;
}
inline void save_weight_gradient(torch::autograd::AutogradContext& ctx, const HeadMemory* memory) {
  if (memory != nullptr && memory->weight_gradient != nullptr)
    ctx.saved_data["weight_gradient"] = c10::IValue::make_capsule(memory->weight_gradient);
}

// Calls body(begin, n) for each chunk of `targets`.
template <class Body>
void for_each_chunk(int64_t targets, int64_t chunk, Body body) {
  for (int64_t begin = 0; begin < targets; begin += chunk) body(begin, std::min(chunk, targets - begin));
}

// From the last to the first, for a backward pass: the last chunk's logits are still in the buffer that the
// forward pass kept. body(begin, n, kept).
template <class Body>
void for_each_chunk_back(int64_t targets, int64_t chunk, bool kept, Body body) {
  for (int64_t begin = (targets - 1) / chunk * chunk; targets > 0 && begin >= 0; begin -= chunk) {
    body(begin, std::min(chunk, targets - begin), kept);
    kept = false;
  }
}

// A buffer of the forward pass, once: where a backward pass comes twice the second finds none.
inline at::Tensor take_kept(torch::autograd::AutogradContext& ctx, const std::string& name) {
  const auto found = ctx.saved_data.find(name);
  if (found == ctx.saved_data.end()) return {};
  at::Tensor out = found->second.toTensor();
  ctx.saved_data.erase(found);
  return out;
}

}  // namespace fulcrum
