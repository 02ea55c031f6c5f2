// The Llama forward pass written down plainly in double: what the decoder's logits are compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::testing {

using Row = std::vector<double>;

// A small model with weights large enough that every part of it matters, biases and norms included.
inline Model lively_model(const ModelSpec& spec, uint64_t seed) {
  Model model{spec, {}, {}};
  uint64_t index = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    Rng rng(seed, Purpose::kTest, {index++});
    std::vector<float> values(static_cast<size_t>(n));
    const bool norm = name.ends_with("norm.weight");
    const double scale = shape.size() == 2 ? 1.5 / std::sqrt(static_cast<double>(shape[1])) : 0.2;
    for (float& v : values) v = static_cast<float>((norm ? 1.0 : 0.0) + scale * rng.normal());
    model.tensors.emplace(name, make_tensor(shape, values));
  }
  return model;
}

class PlainModel {
 public:
  explicit PlainModel(const Model& model) : spec_(model.spec), tensors_(model.tensors) {}

  // Logits after every token.
  std::vector<Row> logits(std::span<const TokenId> ids) const {
    std::vector<Row> hidden;
    const std::vector<float> embedding = values("model.embed_tokens.weight");
    const auto width = static_cast<size_t>(spec_.hidden_size);
    for (const TokenId id : ids) {
      const auto begin = embedding.begin() + static_cast<std::ptrdiff_t>(width) * id;
      hidden.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(width));
    }
    for (int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer) {
      const std::string name = "model.layers." + std::to_string(layer) + ".";
      attend(hidden, name);
      for (Row& h : hidden) feed_forward(h, name);
    }
    std::vector<Row> out;
    const std::string head = spec_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    for (const Row& h : hidden) out.push_back(product(head, norm(h, "model.norm.weight")));
    return out;
  }

 private:
  std::vector<float> values(const std::string& name) const { return to_float(tensors_.at(name)).value(); }

  Row product(const std::string& name, const Row& x) const {
    const std::vector<float> w = values(name);
    Row out(w.size() / x.size());
    for (size_t n = 0; n < out.size(); ++n) {
      for (size_t k = 0; k < x.size(); ++k) out[n] += double{w[n * x.size() + k]} * x[k];
    }
    return out;
  }

  Row norm(const Row& x, const std::string& name) const {
    const std::vector<float> weight = values(name);
    double squares = 0;
    for (const double v : x) squares += v * v;
    Row out;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + spec_.rms_norm_eps);
    for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * weight[i]);
    return out;
  }

  double frequency(int64_t pair) const {
    const double f =
        std::pow(spec_.rope_theta, -2.0 * static_cast<double>(pair) / static_cast<double>(spec_.head_dim));
    if (!spec_.rope_scaling) return f;
    const RopeScaling& s = *spec_.rope_scaling;
    const double turns = static_cast<double>(s.original_max_position_embeddings) * f / (2 * std::numbers::pi);
    const double keep =
        std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
    return keep * f + (1 - keep) * f / s.factor;
  }

  Row projected(const std::string& name, const Row& x, size_t position, bool rotate) const {
    Row out = product(name + ".weight", x);
    if (spec_.attention_bias) {
      const std::vector<float> bias = values(name + ".bias");
      for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i];
    }
    if (!rotate) return out;
    const auto dim = static_cast<size_t>(spec_.head_dim);
    for (size_t head = 0; head < out.size(); head += dim) {
      for (size_t i = 0; i < dim / 2; ++i) {
        const double angle = static_cast<double>(position) * frequency(static_cast<int64_t>(i));
        const double a = out[head + i], b = out[head + i + dim / 2];
        out[head + i] = a * std::cos(angle) - b * std::sin(angle);
        out[head + i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return out;
  }

  void attend(std::vector<Row>& hidden, const std::string& name) const {
    std::vector<Row> keys, values_of;
    const auto dim = static_cast<size_t>(spec_.head_dim),
               heads = static_cast<size_t>(spec_.num_attention_heads);
    const size_t group = heads / static_cast<size_t>(spec_.num_key_value_heads);
    for (size_t t = 0; t < hidden.size(); ++t) {
      const Row x = norm(hidden[t], name + "input_layernorm.weight");
      const Row query = projected(name + "self_attn.q_proj", x, t, true);
      keys.push_back(projected(name + "self_attn.k_proj", x, t, true));
      values_of.push_back(projected(name + "self_attn.v_proj", x, t, false));
      Row mixed(heads * dim);
      for (size_t h = 0; h < heads; ++h) {
        const size_t kv = h / group * dim;
        Row weights;
        double sum = 0;
        for (const Row& key : keys) {
          double score = 0;
          for (size_t i = 0; i < dim; ++i) score += query[h * dim + i] * key[kv + i];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
          sum += weights.back();
        }
        for (size_t p = 0; p <= t; ++p) {
          for (size_t i = 0; i < dim; ++i) mixed[h * dim + i] += weights[p] / sum * values_of[p][kv + i];
        }
      }
      const Row out = product(name + "self_attn.o_proj.weight", mixed);
      for (size_t i = 0; i < out.size(); ++i) hidden[t][i] += out[i];
    }
  }

  void feed_forward(Row& hidden, const std::string& name) const {
    const Row x = norm(hidden, name + "post_attention_layernorm.weight");
    Row gate = product(name + "mlp.gate_proj.weight", x);
    const Row up = product(name + "mlp.up_proj.weight", x);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    const Row out = product(name + "mlp.down_proj.weight", gate);
    for (size_t i = 0; i < out.size(); ++i) hidden[i] += out[i];
  }

  ModelSpec spec_;
  TensorMap tensors_;
};

inline std::vector<TokenId> random_ids(int64_t n, int64_t vocab, uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  std::vector<TokenId> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(vocab))));
  return out;
}

}  // namespace fulcrum::testing
