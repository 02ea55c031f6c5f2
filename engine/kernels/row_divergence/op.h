// The exact divergence of one row of logits from a reference's, and its gradient, for every generator of the
// table (engine/divergence/generators). Called by policy/nn for a chunk of rows at a time. Pure, thread-safe
// on disjoint rows.
//
// In fp32, sixteen chains a block of 256, blocks in double. Only where that is exact enough: on machines with
// AVX2, for rows whose log-ratios all lie within 20, and with orders of alpha within 3; whoever calls does
// the rest in double (Divergence::exact). The same bits with AVX2 and AVX-512.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/divergence/generators/table.h"

namespace fulcrum::kernels {

struct DivergenceRow {
  float* policy = nullptr;     // [n] logits over the temperature
  float* reference = nullptr;  // [n]
  int64_t n = 0;
  double policy_lse = 0, reference_lse = 0;  // log sum exp of each
};

// The divergences of one name of the table; not there for other names, other machines, or options that need
// double.
class RowDivergence {
 public:
  static std::optional<RowDivergence> find(std::string_view name, const DivergenceOptions& options);

  // D_f(pi || p), in the centred form: no term is negative.
  std::optional<double> value(const DivergenceRow& row) const;

  struct Upstream {
    float logp = 0;        // of log pi(id)
    float divergence = 0;  // of D
    int64_t id = 0;
  };
  // Written over the policy's logits, z before the division by the temperature if `upstream` is divided by
  // it:  logp (onehot(id) - pi) + divergence pi (f'(u) - sum pi f'(u)). The reference's logits are spent.
  // False: nothing was written.
  bool gradient(const DivergenceRow& row, const Upstream& upstream) const;

 private:
  RowDivergence(int entry, const DivergenceOptions& options) : entry_(entry), options_(options) {}
  int entry_;
  DivergenceOptions options_;
};

}  // namespace fulcrum::kernels
