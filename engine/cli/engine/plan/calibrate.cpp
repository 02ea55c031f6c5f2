#include "engine/cli/engine/plan/calibrate.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <limits>

#include "engine/core/stopwatch.h"
#include "engine/data/slice.h"
#include "engine/learner/adamw.h"
#include "engine/learner/learner.h"
#include "engine/reference/parameters.h"
#include "policy/decode/decoder.h"
#include "policy/nn/device.h"
#include "policy/nn/policy.h"
#include "policy/nn/token_divergences.h"
#include "policy/nn/torch_errors.h"
#include "rollout/sampler.h"

namespace fulcrum::cli {
namespace {

// Of each measurement: as much work as one core does in a few tenths of a second, weights that no cache
// holds.
constexpr double kLayerWork = 4e9, kHeadWork = 2e9;  // multiplications and additions
constexpr int64_t kLayerWeights = 8'000'000, kDecodeWeights = 24'000'000, kEmbeddingRows = 256;
constexpr double kSeconds = 0.1;  // of repetitions, where one is short

// Seconds of one run, the least of several after one that warms up: what it takes when nothing gets in its
// way. Of work on a device, until it is done.
template <class Work>
double least_of(int at_least, double enough_seconds, Work work, at::Device device = at::kCPU) {
  const auto run = [&] {
    work();
    wait_for(device);
  };
  run();
  double total = 0, least = std::numeric_limits<double>::max();
  Stopwatch watch;
  for (int i = 0; i < at_least || (total < enough_seconds && i < 50); ++i) {
    run();
    const double s = watch.lap();
    total += s;
    least = std::min(least, s);
  }
  return least;
}

double number(int64_t n) { return static_cast<double>(n); }
double ratio(int64_t whole, int64_t part) { return number(whole) / number(part); }

// The model with as many layers as `weights` allow, and `rows` of the vocabulary.
ModelSpec part_of(ModelSpec spec, int64_t weights, int64_t rows) {
  spec.num_hidden_layers =
      std::clamp<int64_t>(weights / layer_matrix_weights(spec), 1, spec.num_hidden_layers);
  spec.vocab_size = std::min(spec.vocab_size, rows);
  spec.tie_word_embeddings = true;
  spec.score_head = false;
  return spec;
}

// A model whose tensors are all the beginning of one: small numbers, made at once.
TensorMap filled(const ModelSpec& spec) {
  const auto shapes = expected_tensors(spec);
  int64_t most = 0;
  for (const auto& [name, shape] : shapes) most = std::max(most, element_count(shape));
  const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(most));
  for (size_t i = 0; i < values->size(); ++i) (*values)[i] = 0.002f * static_cast<float>(i % 17) - 0.016f;
  TensorMap out;
  for (const auto& [name, shape] : shapes) {
    out[name] = {.dtype = DType::kF32,
                 .shape = shape,
                 .bytes = std::as_bytes(std::span(*values).first(static_cast<size_t>(element_count(shape)))),
                 .owner = values};
  }
  return out;
}

// Rows of the step's batch that are worth the layers' share of the time, with ids that the small vocabulary
// has (0).
TrainBatch sample_of(const Workload& w, const ModelSpec& part) {
  const double token = 6 * number(part.num_hidden_layers * layer_matrix_weights(part));
  const auto fitting = static_cast<int64_t>(kLayerWork / token);
  const int64_t most = std::min(std::max<int64_t>(fitting, 64), w.config.learner.max_tokens_per_micro_batch);
  TrainBatch out = slice(w.batch, micro_batches(w.batch, most, w.needs.pairs).front());
  std::fill(out.tokens.begin(), out.tokens.end(), 0);
  return out;
}

// The learner's layers and the optimizer, on a part of the layers.
Status measure_learner(const Workload& w, const PolicyOptions& options, Speeds& out) {
  const ModelSpec spec = part_of(w.spec, kLayerWeights, kEmbeddingRows);
  TRY(policy, Policy::create({.spec = spec, .tensors = filled(spec), .folder = {}}, options));
  const TrainBatch sample = sample_of(w, spec);
  const auto backward = [&] {
    const at::Tensor hidden = policy->hidden(sample);
    torch::autograd::backward({hidden},
                              {at::full(hidden.sizes(), 1e-3, hidden.options().requires_grad(false))});
  };
  const double scale = ratio(w.spec.num_hidden_layers, spec.num_hidden_layers) / number(sample.num_tokens());
  out.layers_train = scale * least_of(2, kSeconds, backward, options.device);
  {
    const at::NoGradGuard no_gradients;
    out.layers_forward = scale * least_of(
                                     2, kSeconds, [&] { policy->hidden(sample); }, options.device);
  }

  AdamW optimizer(policy->parameters(), w.config.learner);
  const double weights = ratio(parameter_count(w.spec), parameter_count(spec));
  out.update = weights * least_of(
                             2, kSeconds,
                             [&] {
                               const AdamW::Clipped update{optimizer, 0, 1, policy->rounded()};
                               if (!AdamW::step_clipped({&update, 1}).rounded) policy->parameters_changed();
                             },
                             options.device);
  if (w.config.online()) out.publish = weights * least_of(2, kSeconds, [&] { copy_parameters(*policy); });
  return ok_status();
}

// The output head, on a part of the targets and of the vocabulary.
void measure_head(const Workload& w, const PolicyOptions& options, const Objective& objective, Speeds& out) {
  if (w.needs.scores) return;
  const int64_t width = w.spec.hidden_size;
  const int64_t n =
      std::clamp<int64_t>(w.largest().targets, 1, std::min<int64_t>(w.config.learner.logits_chunk, 256));
  const auto fitting = static_cast<int64_t>(kHeadWork / (8 * number(n * width)));
  const int64_t rows =
      std::clamp<int64_t>(fitting, std::min<int64_t>(kEmbeddingRows, w.spec.vocab_size), w.spec.vocab_size);
  const at::TensorOptions there(options.device);
  const at::Tensor hidden = at::full({n, width}, 0.01, there.dtype(options.dtype)).set_requires_grad(true);
  const at::Tensor weight = at::full({rows, width}, 0.01, there).set_requires_grad(true);
  const at::Tensor ids = at::zeros({n}, there.dtype(at::kLong));
  const auto run = [&] {
    if (!w.needs.divergence) {
      at::Tensor entropy;
      return token_logps(hidden, weight, ids, 1, w.config.learner.logits_chunk,
                         w.needs.entropy ? &entropy : nullptr);
    }
    const Head policy{hidden, weight}, reference{hidden.detach(), weight.detach()};
    const TokenDivergences both =
        token_divergences(policy, reference, ids, objective.divergence(), 1, w.config.learner.logits_chunk);
    return both.logps_N + both.divergence_N;
  };
  const auto backward = [&] {
    const at::Tensor values = run();
    torch::autograd::backward({values}, {at::ones_like(values)});
  };
  const double scale = ratio(w.spec.vocab_size, rows) / number(n);
  out.head_train = scale * least_of(2, kSeconds, backward, options.device);
  const at::NoGradGuard no_gradients;
  out.head_forward =
      scale * least_of(
                  2, kSeconds, [&] { token_logps(hidden, weight, ids, 1, w.config.learner.logits_chunk); },
                  options.device);
}

// The decoder on a part of the layers and of the vocabulary: whole prompts, then steps in the middle of a
// completion.
Status measure_decoder(const Workload& w, int64_t threads, Speeds& out) {
  const int64_t head_rows = std::max(kEmbeddingRows, kDecodeWeights / 4 / w.spec.hidden_size);
  const ModelSpec spec = part_of(w.spec, kDecodeWeights, head_rows);
  const TensorMap tensors = filled(spec);
  Stopwatch watch;
  TRY(model, DecodeModel::create(spec, tensors, decode_dtype(w.config.sampling.rollout_dtype)));
  out.publish += watch.lap() * ratio(parameter_count(w.spec), parameter_count(spec));
  Workers workers(threads);
  Decoder decoder(std::move(model), workers);
  const double layers = ratio(w.spec.num_hidden_layers, spec.num_hidden_layers);

  const int64_t prompt = std::max<int64_t>(1, w.mean_prompt()),
                prompts = (128 * threads + prompt - 1) / prompt;
  out.prefill = layers / number(prompt * prompts) * least_of(3, kSeconds, [&] {
                  std::vector<KvSequence> sequences;
                  std::vector<DecodeRow> rows;
                  for (int64_t s = 0; s < prompts; ++s) sequences.push_back(decoder.new_sequence());
                  for (KvSequence& s : sequences)
                    rows.insert(rows.end(), static_cast<size_t>(prompt), {&s, 0, false});
                  decoder.run(rows);
                });

  const int64_t batch = std::clamp<int64_t>(w.sequences, 1, w.config.sampling.rollout_max_batch);
  std::vector<KvSequence> sequences;
  for (int64_t b = 0; b < batch; ++b) {
    sequences.push_back(decoder.new_sequence());
    for (int64_t p = 0; p < prompt + w.completion_length / 2; ++p) sequences.back().append();
  }
  const auto step = [&](bool wants_logits) {
    std::vector<DecodeRow> rows;
    for (KvSequence& s : sequences) {
      if (s.length() + 1 >= spec.max_position_embeddings) s = decoder.new_sequence();
      rows.push_back({&s, 0, wants_logits});
    }
    decoder.run(rows);
  };
  const double bare = least_of(3, kSeconds, [&] { step(false); }),
               whole = least_of(3, kSeconds, [&] { step(true); });
  const double head = std::max(0.0, whole - bare) * ratio(w.spec.vocab_size, spec.vocab_size);
  out.decode = (layers * bare + head) / number(batch);

  std::vector<float> logits(static_cast<size_t>(w.spec.vocab_size));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 23) / 8;
  Sampler sampler;
  const SamplingParams params = w.config.sampling.params();
  out.sample =
      least_of(3, kSeconds, [&] { sampler.draw(logits, params, 0.5); }) / number(std::min(threads, batch));
  return ok_status();
}

}  // namespace

Result<Speeds> calibrate(const Workload& w, const Objective& objective) {
  at::set_num_threads(static_cast<int>(w.config.learner.threads));
  return catch_torch("calibration", [&]() -> Result<Speeds> {
    Speeds out;
    if (w.batch.num_rows() == 0) return invalid_argument("the data has no row to plan with");
    TRY(options, policy_options(w.config.learner));
    TRY_DO(measure_learner(w, options, out));
    measure_head(w, options, objective, out);
    if (w.config.online()) TRY_DO(measure_decoder(w, w.config.sampling.rollout_threads, out));
    return out;
  });
}

}  // namespace fulcrum::cli
