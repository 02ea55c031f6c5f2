#include "bench/gpu/made_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include "engine/core/rng.h"
#include "engine/data/pack.h"
#include "policy/nn/target_logps.h"

namespace fulcrum::gpu_check {
namespace {

ModelSpec base_spec(bool small) {
  ModelSpec spec;
  spec.vocab_size = small ? 23 : 1009;
  spec.hidden_size = small ? 24 : 264;
  spec.intermediate_size = small ? 40 : 516;
  spec.num_hidden_layers = small ? 2 : 3;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = small ? 8 : 64;
  spec.rms_norm_eps = 1e-5;
  return spec;
}

}  // namespace

std::vector<Family> families(const CheckOptions& options) {
  const ModelSpec base = base_spec(options.small);
  std::vector<Family> out{{"llama", base}, {"multi-head", base}, {"tied", base}, {"qwen2", base}};
  out[1].spec.num_key_value_heads = 4;
  out[2].spec.tie_word_embeddings = true;
  out[2].spec.head_dim = options.small ? 16 : 128;
  out[3].spec.model_type = "qwen2";
  out[3].spec.attention_bias = true;
  return out;
}

Model lively_model(const ModelSpec& spec) {
  Model model = random_model(spec, 3);
  uint64_t stream = 0;
  // As sharp at every width.
  const double scale = 10 * std::sqrt(24.0 / static_cast<double>(spec.hidden_size));
  for (auto& [name, tensor] : model.tensors) {
    Rng rng(3, Purpose::kTest, {stream++});
    std::vector<float> values = need(to_float(tensor));
    for (float& v : values) {
      v = static_cast<float>(tensor.shape.size() == 2 ? v * scale : v + 0.2 * rng.normal());
    }
    tensor = make_tensor(tensor.shape, values);
  }
  return model;
}

TrainBatch mixed_batch(const ModelSpec& spec, const CheckOptions& options) {
  struct Group {
    int prompt;
    std::vector<int> completions;
  };
  const std::vector<Group> small = {{3, {5, 1, 9}}, {12, {30}}, {1, {2, 0}}, {7, {}}, {12, {4, 17, 3}}};
  const std::vector<Group> large = {{37, {129, 1, 64}},        {300, {200}},   {1, {2, 0}}, {7, {}},
                                    {128, {128, 63, 65, 256}}, {511, {17, 33}}};
  Rng rng(5, Purpose::kTest);
  const auto tokens = [&](int n) {
    std::vector<TokenId> out;
    for (int i = 0; i < n; ++i)
      out.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(spec.vocab_size))));
    return out;
  };
  BatchBuilder builder;
  for (const Group& group : options.small ? small : large) {
    builder.begin_group(tokens(group.prompt));
    for (const int n : group.completions) builder.add_row(tokens(n), {});
  }
  return builder.take();
}

std::vector<Way> ways(const CheckOptions& options) {
  if (options.device.is_cpu()) return {{"on the CPU", nullptr}};
  if (kernels::device_kernels() == nullptr) return {{"plainly", nullptr}};
  return {{"by kernels", kernels::device_kernels()}, {"plainly", nullptr}};
}

void require_kernels(const Way& way, const kernels::FallbackCounts& before) {
  if (way.kernels == nullptr) return;
  const kernels::FallbackCounts now = kernels::fallback_counts();
  for (size_t i = 0; i < now.size(); ++i) {
    if (i == static_cast<size_t>(kernels::Fallback::kAttention)) continue;
    TORCH_CHECK(now[i] == before[i], "there was no kernel for ", kernels::kFallbackNames[i]);
  }
}

Said say(const ModelSpec& spec, const TrainBatch& batch, const PolicyOptions& options) {
  const std::unique_ptr<Policy> policy = need(Policy::create(lively_model(spec), options));
  Said out;
  const at::Tensor states = target_states(policy->hidden(batch), batch);
  const at::Tensor logps = state_logps(*policy, states, batch, 0.8, 77, &out.entropy);
  logps.backward((at::arange(logps.numel(), at::kFloat) * 0.7F).sin().to(options.device));
  out.logps = logps.detach().to(at::kCPU);
  out.entropy = out.entropy.to(at::kCPU);
  for (const auto& [name, leaf] : policy->parameters()) {
    TORCH_CHECK(leaf.grad().defined(), "no gradient of ", name);
    out.gradients.emplace_back(name, leaf.grad().to(at::kCPU));
  }
  return out;
}

}  // namespace fulcrum::gpu_check
