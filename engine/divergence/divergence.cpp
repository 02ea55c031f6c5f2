#include "engine/divergence/divergence.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "engine/divergence/with_derivative.h"

namespace fulcrum {
namespace {

template <class G>
class DivergenceOf final : public Divergence {
 public:
  DivergenceOf(std::string name, G g, std::optional<DivergenceOptions> options = {})
      : Divergence(std::move(name), options), g_(g), centred_(generators::centred_of(g)) {}

  GeneratorFacts facts() const override { return g_.facts(); }

  double at_log_ratio(Quantity quantity, double l) const override {
    double out = 0;
    apply({.quantity = quantity}, g_, &l, &out, 1);
    return out;
  }
  double slope_difference(double l, double m) const override {
    return generators::slope_difference_of(centred_, l, m);
  }
  std::shared_ptr<const Divergence> adjoint() const override {
    const auto swapped = generators::adjoint_of(g_);
    return std::make_shared<DivergenceOf<std::remove_const_t<decltype(swapped)>>>("adjoint of " + name(),
                                                                                  swapped);
  }

 protected:
  void evaluate(const Request& request, const float* in, float* out, int64_t n) const override {
    request.centred ? apply(request, centred_, in, out, n) : apply(request, g_, in, out, n);
  }
  void evaluate(const Request& request, const double* in, double* out, int64_t n) const override {
    request.centred ? apply(request, centred_, in, out, n) : apply(request, g_, in, out, n);
  }

 private:
  template <class Generator, class T>
  static void apply(const Request& request, const Generator& g, const T* in, T* out, int64_t n) {
    const generators::LinearTail<Generator> tailed{g, request.delta_max};
    switch (request.quantity) {
      case Quantity::kValue:
        return each(in, out, n, [&](T l) { return tailed.value(l); });
      case Quantity::kGradient:
        return each(in, out, n, [&](T l) { return tailed.gradient(l); });
      case Quantity::kSlope:
        return each(in, out, n, [&](T l) { return g.slope(l); });
      case Quantity::kCurvature:
        return each(in, out, n, [&](T l) { return g.curvature(l); });
      case Quantity::kInverseSlope:
        return each(in, out, n, [&](T y) { return g.inverse_slope(y); });
    }
  }
  template <class T, class F>
  static void each(const T* in, T* out, int64_t n, const F& f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(in[i]);
  }

  G g_;
  decltype(generators::centred_of(std::declval<G>())) centred_;
};

}  // namespace

at::Tensor Divergence::map(const Request& request, const at::Tensor& in) const {
  const at::NoGradGuard no_grad;
  const bool is_double = in.scalar_type() == at::kDouble;
  const at::Tensor x = in.to(at::kCPU, is_double ? at::kDouble : at::kFloat).contiguous();
  at::Tensor y = at::empty_like(x);
  if (is_double) {
    evaluate(request, x.const_data_ptr<double>(), y.mutable_data_ptr<double>(), x.numel());
  } else {
    evaluate(request, x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), x.numel());
  }
  return y.to(in.device(), in.scalar_type());
}

at::Tensor Divergence::differentiable(Request request, Quantity derivative, const at::Tensor& l) const {
  const at::Tensor y = map(request, l);
  if (!at::GradMode::is_enabled() || !l.requires_grad()) return y;
  request.quantity = derivative;
  return with_derivative(l, y, map(request, l));
}

at::Tensor Divergence::value(const at::Tensor& l) const {
  return differentiable({.quantity = Quantity::kValue}, Quantity::kGradient, l);
}
at::Tensor Divergence::slope(const at::Tensor& l) const {
  return differentiable({.quantity = Quantity::kSlope}, Quantity::kCurvature, l);
}
at::Tensor Divergence::centred(const at::Tensor& l) const {
  return differentiable({.quantity = Quantity::kValue, .centred = true}, Quantity::kGradient, l);
}
at::Tensor Divergence::score(const at::Tensor& l) const {
  return differentiable({.quantity = Quantity::kSlope, .centred = true}, Quantity::kCurvature, l);
}
at::Tensor Divergence::score_difference(const at::Tensor& l, const at::Tensor& m) const {
  const at::Tensor left = l.to(at::kDouble), right = m.to(at::kDouble);
  const at::Tensor x = left.detach().to(at::kCPU).contiguous(), y = right.detach().to(at::kCPU).contiguous();
  at::Tensor difference = at::empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i) {
    difference.mutable_data_ptr<double>()[i] =
        slope_difference(x.const_data_ptr<double>()[i], y.const_data_ptr<double>()[i]);
  }
  const Request curvature{.quantity = Quantity::kCurvature, .centred = true};
  return with_derivative(left, difference.to(l.device()), map(curvature, left.detach())) -
         with_derivative(right, at::zeros_like(right), map(curvature, right.detach()));
}
at::Tensor Divergence::centred_with_tail(const at::Tensor& l, double delta_max) const {
  return differentiable({Quantity::kValue, true, delta_max}, Quantity::kGradient, l);
}
at::Tensor Divergence::inverse_slope(const at::Tensor& y) const {
  return map({.quantity = Quantity::kInverseSlope}, y);
}

// The centred form, whose terms are all >= 0: it differs from the raw sum by f'(1)(sum pi - sum p) = 0.
void Divergence::exact_terms(const at::Tensor& log_pi, const at::Tensor& log_p, at::Tensor& terms,
                             at::Tensor& slopes) const {
  const at::Tensor ratio = (log_pi - log_p).contiguous();
  terms = map({.quantity = Quantity::kValue, .centred = true}, ratio);
  slopes = map({.quantity = Quantity::kGradient, .centred = true}, ratio);
  const double* pi = log_pi.const_data_ptr<double>();
  const double* p = log_p.const_data_ptr<double>();
  double* term = terms.mutable_data_ptr<double>();
  double* slope = slopes.mutable_data_ptr<double>();
  const GeneratorFacts f = facts();
  const double slope_at_infinity = f.slope_at_infinity - f.slope_at_one;
  constexpr double kOverflows = 709;  // e^l
  const std::shared_ptr<const Divergence> other = adjoint();
  const double* l = ratio.const_data_ptr<double>();
  for (int64_t i = 0; i < log_pi.numel(); ++i) {
    const double weight = std::exp(p[i]), mass = std::exp(pi[i]);
    if (weight == 0) {
      term[i] = slope[i] = mass == 0 ? 0 : mass * slope_at_infinity;
    } else if (l[i] > kOverflows) {  // p f(u) = pi f*(1 / u), and 1 / u is 0 beside 1
      term[i] = mass * (other->at_log_ratio(Quantity::kValue, -l[i]) + other->facts().slope_at_one);
      slope[i] = mass * (at_log_ratio(Quantity::kSlope, l[i]) - f.slope_at_one);
    } else {
      term[i] *= weight;
      slope[i] *= weight;
    }
  }
}

at::Tensor Divergence::exact_gradient(const at::Tensor& log_pi, const at::Tensor& log_p) const {
  const at::NoGradGuard no_grad;
  at::Tensor terms, slopes;
  exact_terms(log_pi.to(at::kCPU, at::kDouble).contiguous(),
              log_p.to(at::kCPU, at::kDouble).expand_as(log_pi).contiguous(), terms, slopes);
  return slopes.to(log_pi.device());
}

at::Tensor Divergence::exact(const at::Tensor& log_pi, const at::Tensor& log_p) const {
  const at::Tensor pi = log_pi.to(at::kCPU, at::kDouble).contiguous();
  at::Tensor terms, slopes;
  {
    const at::NoGradGuard no_grad;
    exact_terms(pi.detach(), log_p.detach().to(at::kCPU, at::kDouble).expand_as(pi).contiguous(), terms,
                slopes);
  }
  return with_derivative(pi, terms, slopes).sum(-1).to(log_pi.device(), log_pi.scalar_type());
}

Result<std::shared_ptr<const Divergence>> make_divergence(std::string_view name,
                                                          const DivergenceOptions& options) {
  TRY_DO(check_divergence(name, options));
  std::shared_ptr<const Divergence> found;
  for_each_generator(options, [&](std::string_view entry, const auto& g) {
    if (entry == name)
      found = std::make_shared<DivergenceOf<std::decay_t<decltype(g)>>>(std::string(name), g, options);
  });
  return found;
}

}  // namespace fulcrum
