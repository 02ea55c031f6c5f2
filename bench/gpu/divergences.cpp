// Every generator's exact divergence over rows of logits, and its gradient, beside the table's sums in double
// (engine/divergence).
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/divergence/divergence.h"

namespace fulcrum::gpu_check {
namespace {

using Tensors = std::vector<at::Tensor>;

struct Case {
  Shape shape;
  double apart;  // how far the two rows' logits lie apart
  double far;    // added to a token of the policy: beyond 20 a row is computed in double
};

std::vector<Case> cases(const CheckOptions& options) {
  std::vector<Case> out = {
      {{3, 1}, 1, 0}, {{3, 250}, 0.01, 0}, {{2, 333}, 1.5, 0}, {{2, 40}, 1, 25}, {{2, 40}, 1, -60}};
  if (!options.small) {
    for (const Case& c : {Case{{9, 151936}, 0.5, 0}, {{7, 151937}, 1, 0}, {{2, 151936}, 0.3, 30}})
      out.push_back(c);
  }
  return out;
}

struct Input {
  at::Tensor policy, reference, ids, d_logps, d_divergences, policy_lse, reference_lse;
  explicit Input(const Case& c)
      : policy(numbers(c.shape.rows * c.shape.n, 21, 2).view({c.shape.rows, c.shape.n})),
        reference(policy + numbers(policy.numel(), 22, c.apart).view_as(policy)),
        ids(at::zeros({c.shape.rows}, at::kLong)),
        d_logps(numbers(c.shape.rows, 23)),
        d_divergences(numbers(c.shape.rows, 24)) {
    if (c.far != 0) policy.narrow(1, 17, 1).add_(c.far);
    for (int64_t r = 0; r < c.shape.rows; ++r) ids.data_ptr<int64_t>()[r] = (r * 7919 + 1) % c.shape.n;
    policy_lse = policy.to(at::kDouble).logsumexp({1});
    reference_lse = reference.to(at::kDouble).logsumexp({1});
  }
};

// Values, and gradients as a part of each row's largest.
Tensors wanted(const Input& in, const Divergence& divergence) {
  const at::Tensor z = in.policy.to(at::kDouble).set_requires_grad(true);
  const at::Tensor log_pi = z.log_softmax(1), log_p = in.reference.to(at::kDouble).log_softmax(1);
  const at::Tensor value = divergence.exact(log_pi, log_p);
  const at::Tensor logp = log_pi.gather(1, in.ids.unsqueeze(1)).squeeze(1);
  (in.d_logps.to(at::kDouble) * logp + in.d_divergences.to(at::kDouble) * value).sum().backward();
  return {value.detach(), z.grad()};
}

struct Run {
  const Kernels& k;
  int32_t entry;
  DivergenceOptions options;

  Tensors operator()(const Case& c, const Input& in, int64_t offset) const {
    return twice([&] {
      const Guarded policy(in.policy, k.device, offset), reference(in.reference, k.device, offset);
      const Guarded ids(in.ids, k.device, 0), d_logps(in.d_logps, k.device, 0);
      const Guarded d_divergences(in.d_divergences, k.device, 0), policy_lse(in.policy_lse, k.device, 0);
      const Guarded reference_lse(in.reference_lse, k.device, 0), out(at::zeros({c.shape.rows}), k.device, 0);
      const kernels::DivergenceRows rows{
          entry,        options,   policy.data<float>(),      reference.data<float>(),
          c.shape.rows, c.shape.n, policy_lse.data<double>(), reference_lse.data<double>()};
      k.require(k.table.divergences(rows, out.data<float>(), k.stream));
      const at::Tensor value = out.values();
      k.require(k.table.divergence_gradients(rows, d_logps.data<float>(), d_divergences.data<float>(),
                                             ids.data<int64_t>(), k.stream));
      reference.values();  // spent, but nothing around it
      return Tensors{value, policy.values()};
    });
  }
};

// 0 where a slope jumps so near to a token that rounding decides on which side it is.
at::Tensor decided(const Input& in, const Divergence& divergence) {
  if (divergence.name() != "total_variation") return at::ones({});
  const at::Tensor l = in.policy.to(at::kDouble).log_softmax(1) - in.reference.to(at::kDouble).log_softmax(1);
  return (l.abs() > 1e-4).to(at::kDouble);
}

void compare(const Case& c, const Run& run, const Divergence& divergence, Worst& values, Worst& gradients) {
  const Input in(c);
  const Tensors want = wanted(in, divergence);
  const at::Tensor counts = decided(in, divergence);
  const at::Tensor largest = want[1].abs().amax(1, true) + 0.1;
  for (const int64_t offset : kOffsets) {
    const Tensors got = run(c, in, offset);
    const std::string where = named(c.shape, offset) + (c.far != 0 ? ", in double" : "");
    values.add(apart(got[0], want[0], 0.1), where);
    gradients.add(apart(got[1].view_as(want[1]) * counts / largest, want[1] * counts / largest, 1), where);
  }
}

}  // namespace

void check_divergences(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "divergences, divergence_gradients");
  if (!k) return;
  for (const DivergenceOptions& made_with : {DivergenceOptions{}, DivergenceOptions{2.5, 2}}) {
    int32_t entry = 0;
    for (const std::string& name : divergence_names()) {
      const Run run{*k, entry++, made_with};
      const bool has_options = name == "alpha_divergence" || name == "js_divergence";
      if (made_with.alpha != DivergenceOptions{}.alpha && !has_options) continue;
      const std::string title =
          name + (has_options ? ", alpha " + std::to_string(made_with.alpha).substr(0, 3) : std::string());
      Worst gradients;
      checks.check("divergence " + title, 1e-5, [&](Worst& values) {
        const auto divergence = make_divergence(name, made_with).value();
        for (const Case& c : cases(options)) compare(c, run, *divergence, values, gradients);
      });
      checks.check("its gradient, " + title, 1e-5, [&](Worst& w) { w = gradients; });
    }
  }
}

}  // namespace fulcrum::gpu_check
