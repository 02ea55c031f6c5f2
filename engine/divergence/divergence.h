// A divergence over tensors: the table of engine/divergence/generators, elementwise and differentiable.
// Called by the objectives and by diagnostics. Immutable, thread-safe.
//
// Inputs are log-ratios l = log pi - log p; results have their shape. float and double are computed in
// themselves, half types in float; the arithmetic runs on the CPU whatever the device, since these are the
// few numbers [N] an objective sees (exact divergences over a vocabulary in training come from the fused
// kernel). First derivatives are exact, from gradient() and curvature(), at +-inf too; a second derivative
// throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/status.h"
#include "engine/divergence/generators/table.h"

namespace fulcrum {

using generators::GeneratorFacts;

// What can be asked of a generator at a log-ratio.
enum class Quantity { kValue, kSlope, kCurvature, kGradient, kInverseSlope };

class Divergence {
 public:
  virtual ~Divergence() = default;
  const std::string& name() const { return name_; }
  // What an entry of the table was made with; nothing for an adjoint.
  const std::optional<DivergenceOptions>& options() const { return options_; }
  virtual GeneratorFacts facts() const = 0;

  // f(u) and f'(u).
  at::Tensor value(const at::Tensor& l) const;
  at::Tensor slope(const at::Tensor& l) const;
  // f(u) - f'(1)(u - 1), never negative, and f'(u) - f'(1), zero at l = 0: the forms losses and links use.
  at::Tensor centred(const at::Tensor& l) const;
  at::Tensor score(const at::Tensor& l) const;
  // score(l) - score(m), exact where the two are close or large, in double; differentiable in both.
  at::Tensor score_difference(const at::Tensor& l, const at::Tensor& m) const;
  // centred(l) up to delta_max, its tangent in l above (DPH-RL).
  at::Tensor centred_with_tail(const at::Tensor& l, double delta_max) const;
  // The l with f'(u) = y; no gradient.
  at::Tensor inverse_slope(const at::Tensor& y) const;

  // D_f(pi || p) over the last axis, from log-probabilities of both (the entries of one distribution each;
  // -inf is probability 0): sum p f(pi/p), plus f'(inf) pi where p is 0. Differentiable in log_pi. Summed in
  // double.
  at::Tensor exact(const at::Tensor& log_pi, const at::Tensor& log_p) const;
  // Its derivative in log_pi without autograd, elementwise in double: pi f'(pi/p), up to a multiple of pi.
  at::Tensor exact_gradient(const at::Tensor& log_pi, const at::Tensor& log_p) const;

  // One number, in double.
  virtual double at_log_ratio(Quantity quantity, double l) const = 0;
  // f'(e^l) - f'(e^m), in double.
  virtual double slope_difference(double l, double m) const = 0;
  // D_f*(pi || p) = D_f(p || pi).
  virtual std::shared_ptr<const Divergence> adjoint() const = 0;

 protected:
  Divergence(std::string name, std::optional<DivergenceOptions> options)
      : name_(std::move(name)), options_(options) {}

  // Elementwise work on n numbers of one type; `centred` picks the centred form.
  struct Request {
    Quantity quantity = Quantity::kValue;
    bool centred = false;
    double delta_max = generators::kInfinity;  // kValue and kGradient only
  };
  virtual void evaluate(const Request& request, const float* in, float* out, int64_t n) const = 0;
  virtual void evaluate(const Request& request, const double* in, double* out, int64_t n) const = 0;

 private:
  at::Tensor map(const Request& request, const at::Tensor& in) const;
  at::Tensor differentiable(Request request, Quantity derivative, const at::Tensor& l) const;
  void exact_terms(const at::Tensor& log_pi, const at::Tensor& log_p, at::Tensor& terms,
                   at::Tensor& slopes) const;

  std::string name_;
  std::optional<DivergenceOptions> options_;
};

// kInvalidArgument for a name that is not in the table (naming the nearest), or options out of range.
Result<std::shared_ptr<const Divergence>> make_divergence(std::string_view name,
                                                          const DivergenceOptions& options = {});

}  // namespace fulcrum
