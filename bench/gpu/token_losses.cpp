// Log-probs, log sums, entropies and their gradient beside sums in double.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/token_loss/op.h"

namespace fulcrum::gpu_check {
namespace {

using Tensors = std::vector<at::Tensor>;
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Case {
  Shape shape;
  double scale;
  float temperature;
  int64_t padded;  // tokens at the end that the vocabulary does not have
};

std::vector<Case> cases(const CheckOptions& options) {
  std::vector<Case> out = {{{4, 1}, 2, 1, 0},      {{3, 7}, 20, 0.7F, 0},    {{4, 33}, 2, 1, 5},
                           {{4, 511}, 2, 0.7F, 0}, {{3, 520}, 20, 1.3F, 17}, {{2, 4099}, 2, 1, 0}};
  if (!options.small) {
    for (const Case& c : {Case{{67, 151936}, 2, 1, 0},
                          {{65, 151937}, 20, 0.7F, 0},
                          {{130, 128256}, 4, 1, 200},
                          {{259, 49152}, 2, 1, 0}})
      out.push_back(c);
  }
  return out;
}

struct Input {
  at::Tensor logits, ids, coefficients;
  explicit Input(const Case& c)
      : logits(numbers(c.shape.rows * c.shape.n, 11, c.scale).view({c.shape.rows, c.shape.n})),
        ids(at::zeros({c.shape.rows}, at::kLong)),
        coefficients(numbers(c.shape.rows, 12)) {
    const int64_t real = c.shape.n - c.padded;
    if (c.padded > 0) logits.narrow(1, real, c.padded).fill_(-kInf);
    for (int64_t r = 0; r < c.shape.rows; ++r) ids.data_ptr<int64_t>()[r] = (r * 7919 + 3) % real;
  }
};

struct Wanted {
  at::Tensor logps, lse, entropies;
  Wanted(const Case& c, const Input& in) {
    const at::Tensor z = (in.logits / c.temperature).to(at::kDouble);
    lse = z.logsumexp({1});
    const at::Tensor below = z - lse.unsqueeze(1);
    logps = below.gather(1, in.ids.unsqueeze(1)).squeeze(1);
    entropies = -(below.exp() * below.clamp_min(-1e4)).sum(1);  // 0 times any number below is 0
  }
};

void check_case(const Case& c, const Kernels& k, Worst& values, Worst& entropies, Worst& gradients) {
  const Input in(c);
  const Wanted want(c, in);
  const at::Tensor want_gradient = in.logits.clone();
  for (int64_t r = 0; r < c.shape.rows; ++r) {
    kernels::reference::token_loss_backward(
        {want_gradient.data_ptr<float>() + r * c.shape.n, c.shape.n, c.temperature,
         static_cast<int32_t>(in.ids.data_ptr<int64_t>()[r])},
        want.lse.data_ptr<double>()[r], in.coefficients.data_ptr<float>()[r]);
  }
  for (const int64_t offset : kOffsets) {
    const std::string where = named(c.shape, offset);
    const Guarded ids(in.ids, k.device, 0), lse(want.lse, k.device, 0);
    const Guarded coefficients(in.coefficients, k.device, 0);
    const auto losses = [&](bool with_entropy) {
      return twice([&] {
        const Guarded logits(in.logits, k.device, offset), logps(at::zeros({c.shape.rows}), k.device, 0);
        const Guarded lses(at::zeros({c.shape.rows}, at::kDouble), k.device, 0);
        const Guarded entropy(at::full({c.shape.rows}, 9.0F), k.device, 0);
        k.require(k.table.token_losses(
            {logits.data<float>(), c.shape.rows, c.shape.n, c.temperature, ids.data<int64_t>()},
            logps.data<float>(), lses.data<double>(), with_entropy ? entropy.data<float>() : nullptr,
            k.stream));
        TORCH_CHECK(apart(logits.values(), in.logits, 1) == 0, "the logits were changed: ", where);
        return Tensors{logps.values(), lses.values(), entropy.values()};
      });
    };
    const Tensors full = losses(true), plain = losses(false);
    TORCH_CHECK(apart(plain[0], full[0], 1) == 0 && apart(plain[1], full[1], 1) == 0,
                "the entropy changes a log-prob: ", where);
    values.add(apart(full[0], want.logps, 1), where + ", log-probs");
    values.add(apart(full[1], want.lse, 1), where + ", log sums");
    entropies.add(apart(full[2], want.entropies, 1), where);
    const Tensors gradient = twice([&] {
      const Guarded logits(in.logits, k.device, offset);
      k.require(k.table.token_loss_gradients(
          {logits.data<float>(), c.shape.rows, c.shape.n, c.temperature, ids.data<int64_t>()},
          lse.data<double>(), coefficients.data<float>(), k.stream));
      return Tensors{logits.values()};
    });
    gradients.add(apart(gradient[0], want_gradient, 1e-9), where);
  }
}

}  // namespace

void check_token_losses(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "token_losses, token_loss_gradients");
  if (!k) return;
  Worst entropies, gradients;
  checks.check("token_losses: log-probs and log sums", 1e-6, [&](Worst& values) {
    for (const Case& c : cases(options)) check_case(c, *k, values, entropies, gradients);
  });
  // Of the cases up to the first that failed above.
  checks.check("token_losses: entropies", 4e-6, [&](Worst& w) { w = entropies; });
  checks.check("token_loss_gradients", 1e-5, [&](Worst& w) { w = gradients; });
}

}  // namespace fulcrum::gpu_check
