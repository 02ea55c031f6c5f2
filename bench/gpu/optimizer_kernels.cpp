// AdamW and sums of squares beside the references of engine/kernels.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/adamw/op.h"

namespace fulcrum::gpu_check {
namespace {

using Tensors = std::vector<at::Tensor>;

std::vector<int64_t> sizes(const CheckOptions& options) {
  std::vector<int64_t> out = {1, 3, 4, 255, 1027, 5001};
  if (!options.small) out.insert(out.end(), {5'250'001, 16'777'216});
  return out;
}

void check_adamw(const CheckOptions& options, const Kernels& k, Checks& checks) {
  const kernels::AdamwStep step{0.9F, 0.99F, 1e-8F, 1.3e-3F, 0.9995F, 0.4F, 0.37F};
  checks.check("adamw", 1e-6, [&](Worst& worst) {
    for (const int64_t n : sizes(options)) {
      const at::Tensor gradient = numbers(n, 1), w = numbers(n, 2), m = numbers(n, 3),
                       v = numbers(n, 4).square();
      if (n > 3) v[2] = 0;
      const at::Tensor weights = w.clone(), first = m.clone(), second = v.clone();
      kernels::reference::adamw(step, gradient.data_ptr<float>(), n, weights.data_ptr<float>(),
                                first.data_ptr<float>(), second.data_ptr<float>());
      for (const int64_t offset : kOffsets) {
        const Tensors got = twice([&] {
          const Guarded g(gradient, k.device, offset), x(w, k.device, offset), a(m, k.device, offset);
          const Guarded b(v, k.device, offset);
          k.require(k.table.adamw(step, g.data<float>(), n, x.data<float>(), a.data<float>(), b.data<float>(),
                                  k.stream));
          return Tensors{x.values(), a.values(), b.values()};
        });
        const std::string where = named({1, n}, offset);
        worst.add(apart(got[0], weights, 1), where + ", weights");
        worst.add(apart(got[1], first, 0.1), where + ", first moments");
        worst.add(apart(got[2], second, 0.1), where + ", second moments");
      }
    }
  });
}

void check_squares(const CheckOptions& options, const Kernels& k, Checks& checks) {
  checks.check("add_squares", 1e-6, [&](Worst& worst) {
    for (const int64_t n : sizes(options)) {
      const at::Tensor x = numbers(n, 5), want = x.to(at::kDouble).square().sum();
      at::Tensor aligned;
      for (const int64_t offset : kOffsets) {
        const at::Tensor sums = twice([&] {
          const Guarded from(x, k.device, offset);
          const Guarded into(at::full({kernels::kSquareSums}, 1.5, at::kDouble), k.device, 0);
          k.require(k.table.add_squares(from.data<float>(), n, into.data<double>(), k.stream));
          return Tensors{into.values()};
        })[0];
        if (aligned.defined()) TORCH_CHECK(apart(sums, aligned, 1) == 0, "other sums at another address");
        aligned = sums;
        worst.add(apart(sums.sum() - 1.5 * kernels::kSquareSums, want, 1e-3), named({1, n}, offset));
      }
    }
  });
}

}  // namespace

void check_optimizer_kernels(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "adamw, add_squares");
  if (!k) return;
  check_adamw(options, *k, checks);
  check_squares(options, *k, checks);
}

}  // namespace fulcrum::gpu_check
