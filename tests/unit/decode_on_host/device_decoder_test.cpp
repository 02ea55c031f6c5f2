#include "policy/decode/device/device_decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/rng.h"
#include "policy/decode/decoder.h"
#include "tests/support/cuda_on_host.h"
#include "tests/support/decode_on_host.h"
#include "tests/unit/policy/decode/plain_model.h"

namespace fulcrum {
namespace {

using testing::host_decode_kernels;
using testing::lively_model;

ModelSpec llama_spec() {
  ModelSpec s;
  s.vocab_size = 300;  // more than one softmax block
  s.hidden_size = 24;
  s.intermediate_size = 44;
  s.num_hidden_layers = 3;
  s.num_attention_heads = 6;
  s.num_key_value_heads = 2;
  s.head_dim = 10;  // not a multiple of eight, and heads * head_dim is not hidden_size
  s.max_position_embeddings = 700;
  s.rms_norm_eps = 1e-5;
  return s;
}

ModelSpec qwen2_spec() {
  ModelSpec s = llama_spec();
  s.model_type = "qwen2";
  s.attention_bias = true;
  s.tie_word_embeddings = true;
  s.num_key_value_heads = 6;
  s.head_dim = 16;
  return s;
}

std::vector<TokenId> random_ids(int64_t n, int64_t vocab, uint64_t seed) {
  Rng rng(seed, Purpose::kTest);
  std::vector<TokenId> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(vocab))));
  return out;
}

std::unique_ptr<DeviceDecoder> decoder_of(const Model& model, DType dtype, const DeviceDecoder::Size& size,
                                          const DeviceOptions& options = {}) {
  auto on_device = DeviceModel::create(model.spec, model.tensors, dtype, host_decode_kernels());
  EXPECT_TRUE(on_device.ok()) << on_device.status().message();
  auto decoder = DeviceDecoder::create(*on_device, options, size);
  EXPECT_TRUE(decoder.ok()) << decoder.status().message();
  return std::move(decoder).value();
}

// Runs the prompt in place 0 and gives the logits after it.
std::vector<float> after_prompt(DeviceDecoder& decoder, std::span<const TokenId> ids, const PageList& pages) {
  decoder.row(0) = {0, static_cast<int32_t>(ids.size()) - 1, 0, 1};
  EXPECT_TRUE(decoder.set_table(0, pages.pages()).ok());
  EXPECT_TRUE(decoder.begin(1).ok());
  const DevicePrompt prompt{ids, 0};
  const Status status = decoder.prefill({&prompt, 1}, {});
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<float> logits(static_cast<size_t>(decoder.model().spec().vocab_size));
  EXPECT_TRUE(decoder.read_logits(0, logits).ok());
  return logits;
}

std::vector<float> expected_logits(const Model& model, DType dtype, std::span<const TokenId> ids) {
  Workers one(1);
  Decoder decoder(DecodeModel::create(model.spec, model.tensors, dtype).value(), one);
  KvSequence sequence = decoder.new_sequence();
  std::vector<DecodeRow> rows;
  for (const TokenId id : ids) rows.push_back({&sequence, id, false});
  rows.back().wants_logits = true;
  decoder.run(rows);
  const auto logits = decoder.logits(ids.size() - 1);
  return {logits.begin(), logits.end()};
}

double relative_difference(std::span<const float> a, std::span<const float> b) {
  double squares = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(squares / size);
}

// Prompts of one token, of parts of pages, of several chunks of rows and tiles of attention.
TEST(DeviceDecoder, GivesTheLogitsOfTheDecoderAfterAPrompt) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    const Model model = lively_model(spec, 7);
    for (const bool fixed_order : {true, false}) {
      for (const int64_t length : {1, 16, 50, 530}) {
        const auto decoder = decoder_of(model, DType::kF32, {1, 600, 40}, {.fixed_order = fixed_order});
        const std::vector<TokenId> ids = random_ids(length, spec.vocab_size, 1);
        PageList pages(decoder->pages());
        pages.take(38);
        EXPECT_LT(
            relative_difference(after_prompt(*decoder, ids, pages), expected_logits(model, DType::kF32, ids)),
            3e-6)
            << spec.model_type << " " << length;
      }
    }
  }
}

}  // namespace
}  // namespace fulcrum
