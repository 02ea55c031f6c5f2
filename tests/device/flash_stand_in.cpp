// LibTorch's flash attention over packed sequences exists on GPUs alone: here it is by its formula, for the
// far device, so that what is around the call can be tested. Inputs and outputs are rounded as the real one
// rounds them.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

namespace fulcrum::testing {
namespace {

// fp32 on the CPU, heads first, each key head once for each head that reads it.
struct Sequence {
  at::Tensor q_Hnd, k_Hmd, v_Hmd, scores_Hnm;
};

Sequence cut(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& q_begins,
             const at::Tensor& k_begins, int64_t i, bool causal) {
  const auto part = [&](const at::Tensor& x, const at::Tensor& begins) {
    const int64_t begin = begins[i].item<int>(), end = begins[i + 1].item<int>();
    return x.narrow(0, begin, end - begin).transpose(0, 1).repeat_interleave(q.size(1) / x.size(1), 0);
  };
  Sequence out{part(q, q_begins), part(k, k_begins), part(v, k_begins), {}};
  out.scores_Hnm = at::matmul(out.q_Hnd, out.k_Hmd.transpose(1, 2)) / std::sqrt(double(q.size(2)));
  if (causal) {
    const at::Tensor later = at::ones({out.q_Hnd.size(1), out.k_Hmd.size(1)}, at::kBool)
                                 .triu(1 + out.k_Hmd.size(1) - out.q_Hnd.size(1));
    out.scores_Hnm.masked_fill_(later, -std::numeric_limits<float>::infinity());
  }
  return out;
}

at::Tensor host(const at::Tensor& x) { return x.cpu().to(at::kFloat); }

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& q_begins,
    const std::optional<at::Tensor>& k_begins, int64_t longest_q, int64_t longest_k, double, bool causal,
    bool, std::optional<double>, std::optional<int64_t>, std::optional<int64_t>,
    const std::optional<at::Tensor>&, const std::optional<at::Tensor>&) {
  TORCH_CHECK(q.scalar_type() == at::kBFloat16 && q.stride(-1) == 1 && k.stride(-1) == 1 &&
              v.stride(-1) == 1);
  // LibTorch then folds the query heads that share a key head into the tokens, one of every sequence.
  TORCH_CHECK(causal || longest_q > 1 || q.size(0) == q_begins->numel() - 1,
              "single tokens, and not one of every sequence");
  TORCH_CHECK(q_begins->scalar_type() == at::kInt && k_begins->scalar_type() == at::kInt);
  const at::Tensor qs = host(q), ks = host(k), vs = host(v), qb = q_begins->cpu(), kb = k_begins->cpu();
  at::Tensor out = at::zeros_like(qs), lse = at::full({q.size(1), q.size(0)}, -INFINITY);
  for (int64_t i = 0; i + 1 < qb.numel(); ++i) {
    const Sequence s = cut(qs, ks, vs, qb, kb, i, causal);
    const int64_t n = s.q_Hnd.size(1), begin = qb[i].item<int>();
    TORCH_CHECK(n <= longest_q && s.k_Hmd.size(1) <= longest_k);
    if (n == 0) continue;
    lse.narrow(1, begin, n).copy_(s.scores_Hnm.logsumexp({2}));
    out.narrow(0, begin, n).copy_(at::matmul(s.scores_Hnm.softmax(2), s.v_Hmd).transpose(0, 1));
  }
  return {out.to(at::kBFloat16).to(q.device()), lse.to(q.device()),
          at::empty({2}, q.options().dtype(at::kUInt64)), at::empty({0}, q.options()),
          at::empty({0}, q.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& lse, const at::Tensor& q_begins, const at::Tensor& k_begins,
    int64_t, int64_t, double, bool causal, const at::Tensor&, const at::Tensor&, std::optional<double>,
    std::optional<int64_t>, std::optional<int64_t>) {
  TORCH_CHECK(d_out.scalar_type() == at::kBFloat16 && out.scalar_type() == at::kBFloat16);
  const at::Tensor qs = host(q), ks = host(k), vs = host(v), qb = q_begins.cpu(), kb = k_begins.cpu();
  const at::Tensor dos = host(d_out), os = host(out), lses = host(lse);
  at::Tensor d_q = at::zeros_like(qs), d_k = at::zeros_like(ks), d_v = at::zeros_like(vs);
  const int64_t shared = q.size(1) / k.size(1);
  for (int64_t i = 0; i + 1 < qb.numel(); ++i) {
    const Sequence s = cut(qs, ks, vs, qb, kb, i, causal);
    const int64_t n = s.q_Hnd.size(1), m = s.k_Hmd.size(1), begin = qb[i].item<int>(),
                  k_begin = kb[i].item<int>();
    if (n == 0) continue;
    const at::Tensor weights = (s.scores_Hnm - lses.narrow(1, begin, n).unsqueeze(2)).exp();
    const at::Tensor d_o = dos.narrow(0, begin, n).transpose(0, 1),
                     o = os.narrow(0, begin, n).transpose(0, 1);
    const at::Tensor d_scores = weights *
                                (at::matmul(d_o, s.v_Hmd.transpose(1, 2)) - (d_o * o).sum(2, true)) /
                                std::sqrt(double(q.size(2)));
    const auto add = [&](at::Tensor& into, int64_t at, const at::Tensor& x_Hnd, int64_t group) {
      into.narrow(0, at, x_Hnd.size(1))
          .add_(x_Hnd.reshape({x_Hnd.size(0) / group, group, x_Hnd.size(1), x_Hnd.size(2)})
                    .sum(1)
                    .transpose(0, 1));
    };
    add(d_q, begin, at::matmul(d_scores, s.k_Hmd), 1);
    if (m == 0) continue;
    add(d_k, k_begin, at::matmul(d_scores.transpose(1, 2), s.q_Hnd), shared);
    add(d_v, k_begin, at::matmul(weights.transpose(1, 2), d_o), shared);
  }
  const auto back = [&](const at::Tensor& x) { return x.to(at::kBFloat16).to(q.device()); };
  return {back(d_q), back(d_k), back(d_v)};
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_flash_attention_forward", &forward);
  m.impl("_flash_attention_backward", &backward);
}

}  // namespace
}  // namespace fulcrum::testing
