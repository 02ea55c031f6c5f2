// The output head in chunks, with the exact divergence of every generator, beside the CPU's.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "bench/gpu/made_model.h"
#include "policy/nn/token_divergences.h"

namespace fulcrum::gpu_check {
namespace {

struct Inputs {
  int64_t targets, width, vocabulary, chunk;
  at::Tensor hidden, weight, theirs, their_weight, ids;

  explicit Inputs(bool small)
      : targets(small ? 9 : 259),
        width(small ? 6 : 96),
        vocabulary(small ? 31 : 10007),
        chunk(small ? 4 : 100) {
    const auto matrix = [](int64_t rows, int64_t columns, uint64_t seed, double scale) {
      return numbers(rows * columns, seed, scale).view({rows, columns});
    };
    hidden = matrix(targets, width, 41, 1);
    weight = matrix(vocabulary, width, 42, 0.1);
    theirs = hidden + matrix(targets, width, 43, 0.2);
    their_weight = weight + matrix(vocabulary, width, 44, 0.01);
    ids = at::zeros({targets}, at::kLong);
    for (int64_t i = 0; i < targets; ++i) ids.data_ptr<int64_t>()[i] = i * 7919 % vocabulary;
  }
};

std::vector<at::Tensor> say(const Inputs& in, const std::string& name, at::Device device,
                            at::ScalarType dtype) {
  const at::Tensor h = in.hidden.to(device, dtype, false, true).set_requires_grad(true);
  const at::Tensor w = in.weight.to(device, at::kFloat, false, true).set_requires_grad(true);
  const TokenDivergences out =
      token_divergences({h, w}, {in.theirs.to(device, dtype), in.their_weight.to(device)}, in.ids.to(device),
                        make_divergence(name).value(), 0.9, in.chunk);
  (out.divergence_N + out.logps_N).sum().backward();
  return {out.divergence_N.detach().cpu(), out.logps_N.detach().cpu(), out.reference_logps_N.cpu(),
          h.grad().cpu(), w.grad().cpu()};
}

}  // namespace

void check_heads(const CheckOptions& options, Checks& checks) {
  constexpr const char* kParts[] = {"divergences", "log-probs", "the reference's log-probs",
                                    "gradient of the states", "gradient of the weight"};
  const Inputs in(options.small);
  for (const Way& way : ways(options)) {
    for (const std::string& name : divergence_names()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const bool exact = dtype == at::kFloat;
        if (!exact && name != "forward_kl" && name != "js_divergence") continue;
        // The slope of the total variation jumps: rounding decides on which side a token is.
        const double tolerance = !exact ? 2e-2 : name == "total_variation" ? 2e-3 : 1e-4;
        checks.check("head with " + name + (exact ? " in fp32, " : " in bf16, ") + way.name, tolerance,
                     [&](Worst& worst) {
                       const auto want = say(in, name, at::kCPU, dtype);
                       const Computing computing(way);
                       const kernels::FallbackCounts before = kernels::fallback_counts();
                       const auto got = say(in, name, options.device, dtype);
                       require_kernels(way, before);
                       for (size_t i = 0; i < want.size(); ++i) {
                         const double largest = want[i].abs().max().item<double>();
                         worst.add(apart(got[i] / largest, want[i] / largest, 1), kParts[i]);
                       }
                     });
      }
    }
  }
}

}  // namespace fulcrum::gpu_check
