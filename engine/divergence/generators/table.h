// The table of divergences, without tensors: what exists, and a visit to each entry. D_f(pi || p) =
// E_p[f(pi/p)], and a generator is a small value type with these members, each a function of l = log u, u =
// pi/p:
//
//   value(l)          f(u)
//   slope(l)          f'(u)
//   curvature(l)      u f''(u), the derivative of slope in l
//   gradient(l)       u f'(u), the derivative of value in l: what flows into log pi
//   inverse_slope(y)  the l with f'(u) = y; NaN (or the infinity it tends to) where there is none
//   facts()           limits and kinds, see math.h
//   centred(), adjoint(), slope_difference()   optional better forms, see adaptors.h
//
// Called by engine/divergence (tensors), the kernels and the laws. Immutable values, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"
#include "engine/core/text.h"
#include "engine/divergence/generators/adaptors.h"
#include "engine/divergence/generators/alpha_divergence.h"
#include "engine/divergence/generators/chi_po.h"
#include "engine/divergence/generators/chi_squared.h"
#include "engine/divergence/generators/forward_kl.h"
#include "engine/divergence/generators/hellinger.h"
#include "engine/divergence/generators/jeffreys.h"
#include "engine/divergence/generators/js_divergence.h"
#include "engine/divergence/generators/options.h"
#include "engine/divergence/generators/reverse_kl.h"
#include "engine/divergence/generators/total_variation.h"

namespace fulcrum {

// Calls visit(name, generator) for every entry.
template <class Visit>
void for_each_generator([[maybe_unused]] const DivergenceOptions& o, Visit&& visit) {
  using namespace generators;
#define FULCRUM_DIVERGENCE(name, ...) visit(std::string_view(#name), __VA_ARGS__);
#include "engine/divergence/generators/divergences.def"
#undef FULCRUM_DIVERGENCE
}

inline std::vector<std::string> divergence_names() {
  std::vector<std::string> names;
  for_each_generator({}, [&](std::string_view name, const auto&) { names.emplace_back(name); });
  return names;
}

// kInvalidArgument for a name that is not in the table (naming the nearest), or options out of range.
inline Status check_divergence(std::string_view name, const DivergenceOptions& options) {
  const std::vector<std::string> names = divergence_names();
  bool known = false;
  for (const std::string& n : names) known |= n == name;
  if (!known) {
    const std::string nearest = nearest_name(name, names);
    return invalid_argument("unknown divergence " + in_quotes(name) +
                            (nearest.empty() ? "" : ", did you mean '" + nearest + "'?") +
                            " (known: " + join(names, ", ") + ")");
  }
  if (!std::isfinite(options.alpha))
    return invalid_argument("f_alpha_divergence_coef must be a finite number");
  if (!(options.js_scale > 0) || !std::isfinite(options.js_scale)) {
    return invalid_argument("js_scale must be a finite number above 0");
  }
  return ok_status();
}

}  // namespace fulcrum
