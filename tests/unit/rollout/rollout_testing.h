// What the rollout tests share: a tokenizer whose tokens are two letters each, a small model, and requests.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"
#include "rollout/generator.h"

namespace fulcrum::testing {

inline constexpr TokenId kEos = 0;
inline constexpr int32_t kVocabulary = 40;

// Id 0 is EOS, 38 and 39 are the two bytes of "é", the others two letters: 1 is "ab", 2 is "bc", ...
class PairTokenizer final : public Tokenizer {
 public:
  Result<std::vector<TokenId>> encode(std::string_view, bool) const override {
    return Status(Code::kUnimplemented, "the tests make their ids themselves");
  }
  std::string decode(std::span<const TokenId> ids) const override {
    std::string out;
    for (const TokenId id : ids) out += piece(id);
    return out;
  }
  int32_t vocab_size() const override { return kVocabulary; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  std::optional<TokenId> eos() const override { return kEos; }
  std::optional<TokenId> pad() const override { return std::nullopt; }
  bool is_special(TokenId id) const override { return id == kEos; }

 private:
  static std::string piece(TokenId id) {
    if (id <= kEos || id >= kVocabulary) return "";
    if (id == 38) return "\xC3";
    if (id == 39) return "\xA9";
    return {static_cast<char>('a' + (id - 1) % 26), static_cast<char>('a' + id % 26)};
  }
};

inline ModelSpec small_spec() {
  ModelSpec s;
  s.vocab_size = kVocabulary;
  s.hidden_size = 32;
  s.intermediate_size = 48;
  s.num_hidden_layers = 2;
  s.num_attention_heads = 4;
  s.num_key_value_heads = 2;
  s.head_dim = 8;
  s.max_position_embeddings = 200;
  return s;
}

// Random weights with logits of about unit size.
inline TensorMap small_weights(const ModelSpec& spec, uint64_t seed) {
  TensorMap out;
  uint64_t index = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    size_t n = 1;
    for (const int64_t d : shape) n *= static_cast<size_t>(d);
    Rng rng(seed, Purpose::kTest, {index++});
    std::vector<float> values(n, 1.0f);
    if (shape.size() == 2) {
      for (float& v : values) v = static_cast<float>(rng.normal() / std::sqrt(static_cast<double>(shape[1])));
    }
    out.emplace(name, make_tensor(shape, values));
  }
  return out;
}

inline std::shared_ptr<const DecodeModel> small_model(uint64_t seed = 1,
                                                      const ModelSpec& spec = small_spec()) {
  return DecodeModel::create(spec, small_weights(spec, seed)).value();
}

inline RolloutRequest request(int64_t index, size_t prompt_length, int64_t generations) {
  RolloutRequest r;
  r.seed = 77;
  r.step = 3;
  r.index = index;
  r.num_generations = generations;
  r.sampling.max_completion_length = 30;
  r.prompt.row = 100 + index;
  Rng rng(static_cast<uint64_t>(index), Purpose::kTest);
  for (size_t i = 0; i < prompt_length; ++i) r.prompt.ids.push_back(1 + static_cast<TokenId>(rng.below(37)));
  return r;
}

inline bool same_bits(const std::vector<RolloutGroup>& a, const std::vector<RolloutGroup>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const RolloutGroup& x, const RolloutGroup& y) {
    return x.index == y.index && x.prompt.ids == y.prompt.ids && x.version == y.version &&
           std::equal(x.completions.begin(), x.completions.end(), y.completions.begin(), y.completions.end(),
                      [](const Completion& c, const Completion& d) {
                        return c.ids == d.ids && c.logps == d.logps && c.text == d.text &&
                               c.finish == d.finish;
                      });
  });
}

}  // namespace fulcrum::testing
