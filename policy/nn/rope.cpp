#include "policy/nn/rope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>

#include <cmath>

#include "policy/weights/rope_frequencies.h"

namespace fulcrum {

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
