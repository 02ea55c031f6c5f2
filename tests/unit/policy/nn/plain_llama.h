// The plain formula of a Llama forward pass, one sequence at a time, in double, with autograd: what the
// packed model is compared with. Batches and specs for the tests of this folder and of the learner.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "engine/data/pack.h"
#include "policy/weights/model_spec.h"
#include "policy/weights/rope_frequencies.h"

namespace fulcrum::testing {

inline ModelSpec tiny_spec() {
  ModelSpec spec;
  spec.vocab_size = 23;
  spec.hidden_size = 24;
  spec.intermediate_size = 40;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 8;
  spec.rms_norm_eps = 1e-5;
  return spec;
}

// A random model whose norms, biases and scale are not the trivial ones.
inline Model lively_model(const ModelSpec& spec, uint64_t seed = 3) {
  Model model = random_model(spec, seed);
  uint64_t stream = 0;
  for (auto& [name, tensor] : model.tensors) {
    Rng rng(seed, Purpose::kTest, {stream++});
    std::vector<float> values = to_float(tensor).value();
    for (float& v : values)
      v = tensor.shape.size() == 2 ? v * 10 : v + static_cast<float>(0.2 * rng.normal());
    tensor = make_tensor(tensor.shape, values);
  }
  return model;
}

struct GroupShape {
  int prompt;
  std::vector<int> completions;
};

inline TrainBatch random_batch(const ModelSpec& spec, const std::vector<GroupShape>& groups,
                               uint64_t seed = 5) {
  Rng rng(seed, Purpose::kTest);
  const auto tokens = [&](int n) {
    std::vector<TokenId> out;
    for (int i = 0; i < n; ++i)
      out.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(spec.vocab_size))));
    return out;
  };
  BatchBuilder builder;
  int64_t index = 0;
  for (const GroupShape& group : groups) {
    builder.begin_group(tokens(group.prompt));
    for (const int n : group.completions) {
      BatchRow row;
      row.prompt_row = 100 + index;
      builder.add_row(tokens(n), row);
    }
    ++index;
  }
  return builder.take();
}

using PlainWeights = std::map<std::string, at::Tensor>;

inline PlainWeights plain_weights(const Model& model) {
  PlainWeights out;
  for (const auto& [name, view] : model.tensors) {
    const std::vector<float> values = to_float(view).value();
    out[name] = at::tensor(values).to(at::kDouble).view(view.shape).set_requires_grad(true);
  }
  return out;
}

inline at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / (x.square().mean(-1, true) + epsilon).sqrt() * weight;
}

inline at::Tensor plain_rope(const at::Tensor& x_LHD, const ModelSpec& spec) {
  const std::vector<double> frequencies = rope_frequencies(spec);
  const at::Tensor angle =
      at::arange(x_LHD.size(0), at::kDouble).unsqueeze(1) * at::tensor(frequencies, at::kDouble);
  const at::Tensor cosine = angle.cos().unsqueeze(1), sine = angle.sin().unsqueeze(1);
  const auto half = x_LHD.chunk(2, 2);
  return at::cat({half[0] * cosine - half[1] * sine, half[1] * cosine + half[0] * sine}, 2);
}

inline at::Tensor plain_attention(const at::Tensor& x, const PlainWeights& w, const std::string& p,
                                  const ModelSpec& s) {
  const int64_t length = x.size(0);
  const auto project = [&](const std::string& name, int64_t heads) {
    at::Tensor y = at::matmul(x, w.at(p + name + ".weight").t());
    if (s.attention_bias) y = y + w.at(p + name + ".bias");
    return y.view({length, heads, s.head_dim});
  };
  const int64_t repeat = s.num_attention_heads / s.num_key_value_heads;
  const at::Tensor q = plain_rope(project("q_proj", s.num_attention_heads), s).transpose(0, 1);
  const at::Tensor k =
      plain_rope(project("k_proj", s.num_key_value_heads), s).repeat_interleave(repeat, 1).transpose(0, 1);
  const at::Tensor v = project("v_proj", s.num_key_value_heads).repeat_interleave(repeat, 1).transpose(0, 1);
  const at::Tensor future = at::ones({length, length}, at::kBool).triu(1);
  const at::Tensor scores = at::matmul(q, k.transpose(1, 2)) / std::sqrt(static_cast<double>(s.head_dim));
  const at::Tensor mixed = at::matmul(scores.masked_fill(future, -INFINITY).softmax(-1), v);
  return at::matmul(mixed.transpose(0, 1).reshape({length, -1}), w.at(p + "o_proj.weight").t());
}

// Logits [L, V] of one sequence; of a model with a score head the scores [L, 1].
inline at::Tensor plain_logits(const std::vector<TokenId>& ids, const PlainWeights& w, const ModelSpec& s) {
  const at::Tensor embedding = w.at("model.embed_tokens.weight");
  at::Tensor x = embedding.index_select(0, at::tensor(ids, at::kInt));
  for (int64_t i = 0; i < s.num_hidden_layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    x = x + plain_attention(plain_norm(x, w.at(p + "input_layernorm.weight"), s.rms_norm_eps), w,
                            p + "self_attn.", s);
    const at::Tensor h = plain_norm(x, w.at(p + "post_attention_layernorm.weight"), s.rms_norm_eps);
    const at::Tensor gate = at::silu(at::matmul(h, w.at(p + "mlp.gate_proj.weight").t()));
    x = x + at::matmul(gate * at::matmul(h, w.at(p + "mlp.up_proj.weight").t()),
                       w.at(p + "mlp.down_proj.weight").t());
  }
  x = plain_norm(x, w.at("model.norm.weight"), s.rms_norm_eps);
  if (s.score_head) return at::matmul(x, w.at("score.weight").t());
  return at::matmul(x, (s.tie_word_embeddings ? embedding : w.at("lm_head.weight")).t());
}

// The log-probs of all targets [N], each row as a sequence of its own.
inline at::Tensor plain_logps(const TrainBatch& batch, const PlainWeights& w, const ModelSpec& s,
                              double temperature) {
  std::vector<at::Tensor> out;
  for (const BatchRow& row : batch.rows) {
    const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
    std::vector<TokenId> ids(batch.tokens.begin() + group.prompt_begin,
                             batch.tokens.begin() + group.prompt_end);
    ids.insert(ids.end(), batch.tokens.begin() + row.token_begin, batch.tokens.begin() + row.token_end);
    const at::Tensor logps = (plain_logits(ids, w, s) / temperature).log_softmax(-1);
    const int64_t first = group.prompt_end - group.prompt_begin;
    for (auto i = first; i < static_cast<int64_t>(ids.size()); ++i)
      out.push_back(logps[i - 1][ids[static_cast<size_t>(i)]]);
  }
  return at::stack(out);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace fulcrum::testing
