#include "bench/gpu/checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <limits>

#include "policy/nn/torch_errors.h"

namespace fulcrum::gpu_check {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor host(const at::Tensor& x) { return x.detach().to(at::kCPU).to(at::kDouble).flatten(); }

}  // namespace

void Worst::add(double error, const std::string& where) {
  if (std::isnan(error)) error = kInfinity;
  if (!where_.empty() && error <= error_) return;
  error_ = error;
  where_ = where;
}

void Checks::check(const std::string& name, double tolerance, const std::function<void(Worst&)>& run) {
  Worst worst;
  const Status status = catch_torch(name, [&] {
    run(worst);
    return ok_status();
  });
  if (!status.ok()) return say({name, State::kFailed, kInfinity, tolerance, status.message()});
  if (worst.where().empty()) return say({name, State::kFailed, kInfinity, tolerance, "nothing was compared"});
  const bool ok = worst.error() <= tolerance;
  say({name, ok ? State::kOk : State::kFailed, worst.error(), tolerance, worst.where()});
}

void Checks::leave_out(const std::string& name, const std::string& why) {
  say({name, State::kLeftOut, 0, 0, why});
}

void Checks::say(Line line) {
  ++lines_;
  if (line.state == State::kFailed) ++failed_;
  say_(line);
}

double apart(const at::Tensor& got, const at::Tensor& want, double least) {
  TORCH_CHECK(got.numel() == want.numel(), "there are ", got.numel(), " numbers, not ", want.numel());
  if (got.numel() == 0) return 0;
  const at::Tensor g = host(got), w = host(want);
  const at::Tensor same = (g == w).logical_or(g.isnan().logical_and(w.isnan()));
  const at::Tensor error = at::where(same, 0.0, (g - w).abs() / w.abs().clamp_min(least));
  return at::where(error.isnan(), kInfinity, error).max().item<double>();
}

double distance(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor g = host(got), w = host(want);
  return (g - w).norm().item<double>() / std::max(w.norm().item<double>(), 1e-30);
}

}  // namespace fulcrum::gpu_check
