// Attention over packed rows: flash attention and scores written out on the device beside the CPU's kernel.
#include <ATen/TensorOperators.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "bench/gpu/made_model.h"
#include "policy/nn/attention.h"
#include "policy/nn/device_attention.h"
#include "policy/nn/flash_attention.h"

namespace fulcrum::gpu_check {
namespace {

struct Run {
  at::Tensor out, d_qkv;
};

Run run(const AttentionContext& attention, const at::Tensor& qkv_TC, const at::Tensor& d_out_TC) {
  const AttentionContext::Output forward = attention.forward(qkv_TC);
  const at::Tensor d_qkv = attention.backward(qkv_TC, forward, d_out_TC);
  return {forward.out_TC.to(at::kCPU), d_qkv.to(at::kCPU)};
}

struct Case {
  const Family& family;
  TrainBatch batch;
  at::Tensor qkv_TC, d_out_TC;
  Run want;

  Case(const Family& f, const CheckOptions& options) : family(f), batch(mixed_batch(f.spec, options)) {
    const ModelSpec& s = f.spec;
    const int64_t tokens = batch.num_tokens(), out = s.num_attention_heads * s.head_dim;
    const int64_t in = out + 2 * s.num_key_value_heads * s.head_dim;
    qkv_TC = numbers(tokens * in, 31).view({tokens, in});
    d_out_TC = numbers(tokens * out, 32).view({tokens, out});
    want = run(*attention_context(s, batch, at::kCPU, at::kFloat), qkv_TC, d_out_TC);
  }

  void compare(Worst& worst, const CheckOptions& options, at::ScalarType dtype) const {
    const auto there = device_attention(family.spec, batch, options.device, dtype);
    const Run got = run(*there, qkv_TC.to(options.device), d_out_TC.to(options.device));
    worst.add(distance(got.out, want.out), "output");
    worst.add(distance(got.d_qkv, want.d_qkv), "gradient");
  }
};

}  // namespace

void check_attention(const CheckOptions& options, Checks& checks) {
  for (const Family& family : families(options)) {
    for (const Way& way : ways(options)) {
      const std::string title = family.name + ", " + way.name;
      checks.check("attention written out, " + title, 1e-5, [&](Worst& worst) {
        const Case c(family, options);
        const Computing computing(way);
        c.compare(worst, options, at::kFloat);
      });
      if (options.device.is_cpu() || !flash_takes(family.spec, options.device)) {
        checks.leave_out("flash attention, " + title, "there is none on " + options.device.str());
        continue;
      }
      // It takes and gives bf16: 2^-8 each.
      checks.check("flash attention, " + title, 1.5e-2, [&](Worst& worst) {
        const Case c(family, options);
        const Computing computing(way);
        c.compare(worst, options, at::kBFloat16);
      });
    }
  }
}

}  // namespace fulcrum::gpu_check
