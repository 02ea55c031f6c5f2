#include "policy/nn/rope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>

#include <cmath>
#include <numbers>

namespace fulcrum {
namespace {

// Llama 3.1's scaling, as transformers computes it (modeling_rope_utils, "llama3"): long waves are slowed
// down by `factor`, short ones kept, those between are interpolated.
double scale_frequency(double frequency, const RopeScaling& s) {
  const auto context = static_cast<double>(s.original_max_position_embeddings);
  const double wave = 2 * std::numbers::pi / frequency;
  if (wave < context / s.high_freq_factor) return frequency;
  if (wave > context / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (context / wave - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const ModelSpec& spec) {
  std::vector<double> out;
  for (int64_t i = 0; i < spec.head_dim / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(spec.head_dim);
    const double frequency = std::pow(spec.rope_theta, -exponent);
    out.push_back(spec.rope_scaling ? scale_frequency(frequency, *spec.rope_scaling) : frequency);
  }
  return out;
}

RopeTable make_rope_table(const ModelSpec& spec, const std::vector<int64_t>& positions) {
  const std::vector<double> frequencies = rope_frequencies(spec);
  const auto half = static_cast<int64_t>(frequencies.size());
  const auto tokens = static_cast<int64_t>(positions.size());
  RopeTable out{at::empty({tokens, 1, half}, at::kFloat), at::empty({tokens, 1, half}, at::kFloat)};
  float* cosine = out.cos_T1D.mutable_data_ptr<float>();
  float* sine = out.sin_T1D.mutable_data_ptr<float>();
  for (const int64_t position : positions) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      *cosine++ = static_cast<float>(std::cos(angle));
      *sine++ = static_cast<float>(std::sin(angle));
    }
  }
  return out;
}

at::Tensor rotate_heads(const at::Tensor& x_TC, const RopeTable& table, int64_t heads, bool inverse) {
  const int64_t tokens = x_TC.size(0), half = table.cos_T1D.size(2), rotated = heads * 2 * half;
  at::Tensor out_TC = at::empty_like(x_TC);
  out_TC.narrow(1, rotated, x_TC.size(1) - rotated).copy_(x_TC.narrow(1, rotated, x_TC.size(1) - rotated));
  const auto halves = [&](const at::Tensor& t) {
    return t.narrow(1, 0, rotated).view({tokens, heads, 2, half}).unbind(2);
  };
  const std::vector<at::Tensor> in = halves(x_TC);
  std::vector<at::Tensor> out = halves(out_TC);
  const double sign = inverse ? -1 : 1;
  // (a, b) -> (a cos - b sin, b cos + a sin)
  at::mul_out(out[0], in[0], table.cos_T1D).addcmul_(in[1], table.sin_T1D, -sign);
  at::mul_out(out[1], in[1], table.cos_T1D).addcmul_(in[0], table.sin_T1D, sign);
  return out_TC;
}

}  // namespace fulcrum
