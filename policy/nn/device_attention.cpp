#include "policy/nn/device_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>

#include <cmath>
#include <limits>

#include "policy/nn/device_call.h"
#include "policy/nn/flash_attention.h"
#include "policy/nn/placed.h"

namespace fulcrum {
namespace {

using kernels::Fallback;

// Rotary embedding of the first `heads` heads of each row, in place.
class Rotation {
 public:
  Rotation(const ModelSpec& spec, const TrainBatch& batch, at::Device device) : head_dim_(spec.head_dim) {
    const RotaryAngles angles = rotary_angles(spec, batch);
    const auto place = [&](const std::vector<float>& values) {
      return placed(values, device).view({-1, head_dim_ / 2});
    };
    cosines_ = place(angles.cosines);
    sines_ = place(angles.sines);
  }

  void apply(at::Tensor& x_TC, int64_t heads, bool inverse) const {
    const bool done =
        if_device_kernel(x_TC, [&](const kernels::DeviceKernels& k, kernels::DeviceStream stream) {
          return k.rope({x_TC.mutable_data_ptr<float>(), x_TC.size(0), x_TC.stride(0), heads, head_dim_,
                         cosines_.const_data_ptr<float>(), sines_.const_data_ptr<float>(), inverse},
                        stream);
        });
    if (done) return;
    const at::Tensor pairs = x_TC.narrow(1, 0, heads * head_dim_).view({-1, heads, 2, head_dim_ / 2});
    const at::Tensor first = pairs.select(2, 0), second = pairs.select(2, 1);
    const at::Tensor cosine = cosines_.unsqueeze(1), sine = (inverse ? -sines_ : sines_).unsqueeze(1);
    const at::Tensor turned = first * cosine - second * sine;
    second.copy_(first * sine + second * cosine);
    first.copy_(turned);
  }

 private:
  int64_t head_dim_;
  at::Tensor cosines_, sines_;  // [T, head_dim / 2]
};

// Scores written out, a group at a time.
class WrittenOut final : public AttentionContext {
 public:
  WrittenOut(const ModelSpec& spec, const TrainBatch& batch, at::Device device)
      : heads_(spec.num_attention_heads),
        kv_heads_(spec.num_key_value_heads),
        head_dim_(spec.head_dim),
        rotation_(spec, batch, device) {
    std::vector<int64_t> segment(batch.tokens.size(), 0);  // of its group: 0 the prompt, then the rows
    for (const BatchGroup& g : batch.groups) {
      int64_t end = g.prompt_end;
      for (int64_t r = g.row_begin; r < g.row_end; ++r) {
        const BatchRow& row = batch.rows[static_cast<size_t>(r)];
        for (int64_t t = row.token_begin; t < row.token_end; ++t)
          segment[static_cast<size_t>(t)] = r - g.row_begin + 1;
        end = std::max(end, row.token_end);
      }
      groups_.push_back({g.prompt_begin, end - g.prompt_begin});
    }
    segments_T = placed(segment, device);
  }

  Output forward(const at::Tensor& qkv_TC) const override {
    kernels::note_fallback(Fallback::kAttention);
    const int64_t tokens = qkv_TC.size(0);
    const at::Tensor x_TC = rotated(qkv_TC);
    Output out{at::empty({tokens, heads_ * head_dim_}, qkv_TC.options()),
               at::empty({tokens, heads_}, qkv_TC.options())};
    for (const Group& g : groups_) {
      const Parts p = parts(x_TC, g);
      const at::Tensor scores_Hnn = scores(p, g), lse_Hn = scores_Hnn.logsumexp({2});
      const at::Tensor weights_Hnn = (scores_Hnn - lse_Hn.unsqueeze(2)).exp_();
      put(out.out_TC, g, at::bmm(weights_Hnn, p.v_Hnd));
      out.lse_TH.narrow(0, g.begin, g.count).copy_(lse_Hn.t());
    }
    return out;
  }

  // With P the weights and O = P V:  dV = P^T dO,  dS = P (dO V^T - rowsum(dO O)),  dQ = dS K,  dK = dS^T Q,
  // the last two times the scale of the scores.
  at::Tensor backward(const at::Tensor& qkv_TC, const Output& forward,
                      const at::Tensor& d_out_TC) const override {
    kernels::note_fallback(Fallback::kAttention);
    const at::Tensor x_TC = rotated(qkv_TC);
    at::Tensor d_qkv_TC = at::empty_like(qkv_TC);
    for (const Group& g : groups_) {
      const Parts p = parts(x_TC, g);
      const at::Tensor d_out_Hnd = heads_first(d_out_TC, g, 0, heads_);
      const at::Tensor lse_Hn = forward.lse_TH.narrow(0, g.begin, g.count).t();
      const at::Tensor weights_Hnn = (scores(p, g) - lse_Hn.unsqueeze(2)).exp_();
      const at::Tensor mean_Hn = (d_out_Hnd * heads_first(forward.out_TC, g, 0, heads_)).sum(2);
      const at::Tensor d_scores_Hnn = at::bmm(d_out_Hnd, p.v_Hnd.transpose(1, 2))
                                          .sub_(mean_Hn.unsqueeze(2))
                                          .mul_(weights_Hnn)
                                          .mul_(scale());
      const at::Tensor d_q = at::bmm(d_scores_Hnn, p.k_Hnd);
      const at::Tensor d_k = shared(at::bmm(d_scores_Hnn.transpose(1, 2), p.q_Hnd));
      const at::Tensor d_v = shared(at::bmm(weights_Hnn.transpose(1, 2), d_out_Hnd));
      put(d_qkv_TC, g, at::cat({d_q, d_k, d_v}));
    }
    rotation_.apply(d_qkv_TC, heads_ + kv_heads_, true);
    return d_qkv_TC;
  }

 private:
  struct Group {
    int64_t begin, count;
  };
  struct Parts {
    at::Tensor q_Hnd, k_Hnd, v_Hnd;
  };

  double scale() const { return 1 / std::sqrt(static_cast<double>(head_dim_)); }

  at::Tensor rotated(const at::Tensor& qkv_TC) const {
    at::Tensor x_TC = qkv_TC.clone();
    rotation_.apply(x_TC, heads_ + kv_heads_, false);
    return x_TC;
  }

  // `count` heads from `first` on, [heads, n, head_dim].
  at::Tensor heads_first(const at::Tensor& x_TC, const Group& g, int64_t first, int64_t count) const {
    return x_TC.narrow(0, g.begin, g.count)
        .narrow(1, first * head_dim_, count * head_dim_)
        .view({g.count, count, head_dim_})
        .transpose(0, 1);
  }
  void put(const at::Tensor& into_TC, const Group& g, const at::Tensor& x_Hnd) const {
    heads_first(into_TC, g, 0, x_Hnd.size(0)).copy_(x_Hnd);
  }

  // Keys and values once for each head that reads them; and the sum over those.
  Parts parts(const at::Tensor& x_TC, const Group& g) const {
    const auto repeated = [&](int64_t first) {
      return heads_first(x_TC, g, first, kv_heads_).repeat_interleave(heads_ / kv_heads_, 0);
    };
    return {heads_first(x_TC, g, 0, heads_), repeated(heads_), repeated(heads_ + kv_heads_)};
  }
  at::Tensor shared(const at::Tensor& x_Hnd) const {
    return x_Hnd.view({kv_heads_, heads_ / kv_heads_, x_Hnd.size(1), head_dim_}).sum(1);
  }

  // -inf where a token does not look: what comes later, and other completions.
  at::Tensor scores(const Parts& p, const Group& g) const {
    const at::Tensor segment_n = segments_T.narrow(0, g.begin, g.count);
    const at::Tensor place_n = at::arange(g.count, segment_n.options());
    const at::Tensor own =
        (segment_n.unsqueeze(0) == 0).logical_or(segment_n.unsqueeze(0) == segment_n.unsqueeze(1));
    const at::Tensor seen = own.logical_and(place_n.unsqueeze(0) <= place_n.unsqueeze(1));
    return at::bmm(p.q_Hnd, p.k_Hnd.transpose(1, 2))
        .mul_(scale())
        .masked_fill_(seen.logical_not().unsqueeze(0), -std::numeric_limits<float>::infinity());
  }

  int64_t heads_, kv_heads_, head_dim_;
  Rotation rotation_;
  std::vector<Group> groups_;
  at::Tensor segments_T;
};

// Rotated and rounded for flash attention, which does the rest.
class Flash final : public AttentionContext {
 public:
  Flash(const ModelSpec& spec, const TrainBatch& batch, at::Device device)
      : heads_(spec.num_attention_heads),
        kv_heads_(spec.num_key_value_heads),
        rotation_(spec, batch, device),
        segments_(batch, device),
        shape_{heads_, kv_heads_, spec.head_dim} {}

  Output forward(const at::Tensor& qkv_TC) const override {
    FlashOutput out = flash_forward(rotated(qkv_TC), segments_, shape_);
    return {std::move(out.out_TC), std::move(out.lse_HT)};
  }

  at::Tensor backward(const at::Tensor& qkv_TC, const Output& forward,
                      const at::Tensor& d_out_TC) const override {
    at::Tensor d_qkv_TC = flash_backward(rotated(qkv_TC), {forward.out_TC, forward.lse_TH},
                                         d_out_TC.to(at::kBFloat16), segments_, shape_);
    rotation_.apply(d_qkv_TC, heads_ + kv_heads_, true);
    return d_qkv_TC;
  }

 private:
  at::Tensor rotated(const at::Tensor& qkv_TC) const {
    at::Tensor x_TC = qkv_TC.clone();
    rotation_.apply(x_TC, heads_ + kv_heads_, false);
    return x_TC.to(at::kBFloat16);
  }

  int64_t heads_, kv_heads_;
  Rotation rotation_;
  FlashSegments segments_;
  FlashShape shape_;
};

}  // namespace

std::shared_ptr<const AttentionContext> device_attention(const ModelSpec& spec, const TrainBatch& batch,
                                                         at::Device device, at::ScalarType dtype) {
  if (dtype == at::kBFloat16 && flash_takes(spec, device))
    return std::make_shared<Flash>(spec, batch, device);
  return std::make_shared<WrittenOut>(spec, batch, device);
}

}  // namespace fulcrum
