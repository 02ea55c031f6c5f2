// What the translation units of the instruction sets define. Plain types only: their code is compiled for one
// instruction set, and nothing that other units could share may be in it.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

struct DivergenceTask {
  int entry;  // line of divergences.def
  double alpha, js_scale;
  float *policy, *reference;
  int64_t n;
  double policy_lse, reference_lse;
};

// False: the row needs double.
using ValueFunction = bool(const DivergenceTask&, double* value);
using GradientFunction = bool(const DivergenceTask&, float d_logp, float d_divergence, int64_t id);

ValueFunction row_divergence_value_avx2, row_divergence_value_avx512;
GradientFunction row_divergence_gradient_avx2, row_divergence_gradient_avx512;

}  // namespace fulcrum::kernels
