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
using testing::random_ids;

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

// Prompts of one token, of whole pages, and of several tiles of attention.
TEST(DeviceDecoder, GivesTheLogitsOfTheDecoderAfterAPrompt) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    const Model model = lively_model(spec, 7);
    for (const int64_t length : {1, 16, 50, 270}) {
      const auto decoder = decoder_of(model, DType::kF32, {1, 300, 40}, {.fixed_order = length != 16});
      const std::vector<TokenId> ids = random_ids(length, spec.vocab_size, 1);
      PageList pages(decoder->pages());
      pages.take(19);
      EXPECT_LT(
          relative_difference(after_prompt(*decoder, ids, pages), expected_logits(model, DType::kF32, ids)),
          3e-6)
          << spec.model_type << " " << length;
    }
  }
}

// What rounds are weights, the inputs of products, and, which the CPU keeps in fp32, keys and values.
TEST(DeviceDecoder, GivesInBfloat16TheLogitsOfTheRoundedWeightsButForTheRoundingOfInputsAndKeys) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    Model model = lively_model(spec, 7);
    const auto decoder = decoder_of(model, DType::kBF16, {1, 100, 10});
    const std::vector<TokenId> ids = random_ids(40, spec.vocab_size, 1);
    PageList pages(decoder->pages());
    pages.take(7);
    const std::vector<float> actual = after_prompt(*decoder, ids, pages);
    for (auto& [name, tensor] : model.tensors)
      tensor =
          make_tensor(tensor.shape, std::span<const double>(to_double(tensor).value()), DType::kBF16).value();
    const double off = relative_difference(actual, expected_logits(model, DType::kF32, ids));
    EXPECT_LT(off, 0.02) << spec.model_type;
    EXPECT_GT(off, 1e-4) << "nothing was rounded";
  }
}

// Prompts that end in one chunk of rows and begin in the next; each has its logits.
TEST(DeviceDecoder, RunsSeveralPromptsTogether) {
  ModelSpec spec = llama_spec();
  spec.num_hidden_layers = 1;
  const Model model = lively_model(spec, 7);
  const int64_t lengths[] = {200, 3, 250, 120, 17};
  const auto decoder = decoder_of(model, DType::kF32, {5, 260, 100});
  std::vector<std::vector<TokenId>> ids;
  std::vector<PageList> pages;
  std::vector<DevicePrompt> prompts;
  for (const int64_t length : lengths) {
    ids.push_back(random_ids(length, spec.vocab_size, static_cast<uint64_t>(length)));
    pages.emplace_back(decoder->pages());
    pages.back().take(17);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    prompts.push_back({ids[i], static_cast<int32_t>(4 - i)});
    ASSERT_TRUE(decoder->set_table(prompts[i].table, pages[i].pages()).ok());
  }
  ASSERT_TRUE(decoder->begin(1).ok());
  ASSERT_TRUE(decoder->prefill(prompts, {}).ok());
  ASSERT_TRUE(decoder->keep_logits(2).ok());
  std::vector<float> logits(static_cast<size_t>(spec.vocab_size));
  for (size_t i = 0; i <= ids.size(); ++i) {
    const bool kept = i == ids.size();
    ASSERT_TRUE(decoder->read_logits(kept ? decoder->kept_logits() : static_cast<int32_t>(i), logits).ok());
    EXPECT_LT(relative_difference(logits, expected_logits(model, DType::kF32, ids[kept ? 2 : i])), 3e-6) << i;
  }
}

TEST(DeviceDecoder, LooksAtTheStopTokenWhilePromptsRun) {
  ModelSpec spec = llama_spec();
  spec.num_hidden_layers = 1;
  spec.num_attention_heads = spec.num_key_value_heads = 1;
  const auto decoder = decoder_of(lively_model(spec, 7), DType::kF32, {4, 560, 35});
  const std::vector<TokenId> ids = random_ids(550, spec.vocab_size, 1);
  PageList pages(decoder->pages());
  pages.take(35);
  ASSERT_TRUE(decoder->set_table(0, pages.pages()).ok());
  std::stop_source stopped;
  stopped.request_stop();
  testing::new_host_device();
  EXPECT_TRUE(decoder->prefill(std::vector<DevicePrompt>(1, {ids, 0}), stopped.get_token()).ok())
      << "so few are soon done";
  EXPECT_EQ(testing::host_device().synchronisations, 0);
  const Status status = decoder->prefill(std::vector<DevicePrompt>(4, {ids, 0}), stopped.get_token());
  EXPECT_EQ(status.code(), Code::kCancelled);
  EXPECT_EQ(testing::host_device().synchronisations, 1);
}

// Greedy steps: the logits from which the last token was drawn are those of the CPU after the same tokens, on
// both sides of a page's and a tile's border.
TEST(DeviceDecoder, StepsThroughTheTokensItDraws) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    const Model model = lively_model(spec, 7);
    for (const int64_t length : {3, 12, 252}) {
      const auto decoder = decoder_of(model, DType::kF32, {3, 270, 40}, {.steps = 6});
      std::vector<TokenId> ids = random_ids(length, spec.vocab_size, 1);
      PageList pages(decoder->pages());
      pages.take(17);
      kernels::DeviceSlot& slot = decoder->slot(0);
      slot.greedy = 1;
      slot.remaining = 100;
      std::fill(std::begin(slot.endings), std::end(slot.endings), -1);
      after_prompt(*decoder, ids, pages);
      const FirstDraw first{0, 0};
      ASSERT_TRUE(decoder->draw_first({&first, 1}).ok());
      ASSERT_TRUE(decoder->run_steps().ok());
      ASSERT_EQ(slot.drawn, 7);
      ASSERT_EQ(decoder->row(0).position, length + 6);
      EXPECT_EQ(decoder->row(0).token, slot.ids[6]);
      std::vector<float> logits(static_cast<size_t>(spec.vocab_size));
      ASSERT_TRUE(decoder->read_logits(0, logits).ok());
      ids.insert(ids.end(), slot.ids, slot.ids + 6);
      EXPECT_LT(relative_difference(logits, expected_logits(model, DType::kF32, ids)), 3e-6) << length;
    }
  }
}

TEST(DeviceDecoder, RecordsAStepOnceForABatchOfASize) {
  const Model model = lively_model(llama_spec(), 7);
  const auto decoder = decoder_of(model, DType::kF32, {5, 30, 20});
  testing::new_host_device();
  for (const int64_t count : {1, 5, 6, 8, 1, 5}) ASSERT_TRUE(decoder->begin(count).ok());
  EXPECT_EQ(testing::host_device().graphs, 2) << "of one row and of eight";
  EXPECT_EQ(testing::host_device().synchronisations, 0);
}

// graph = eager: what a replayed step leaves behind is bit for bit what its kernels, called one by one,
// leave.
TEST(DeviceDecoder, AReplayedStepIsThePlainOne) {
  const Model model = lively_model(qwen2_spec(), 7);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    std::vector<float> logits[2];
    std::vector<TokenId> ids[2];
    for (const bool recorded : {false, true}) {
      const auto decoder = decoder_of(model, dtype, {5, 60, 20}, {.steps = 4, .recorded = recorded});
      PageList pages(decoder->pages());
      pages.take(4);
      kernels::DeviceSlot& slot = decoder->slot(0);
      slot.remaining = 100;
      std::fill(std::begin(slot.uniforms), std::end(slot.uniforms), 0.37);
      std::fill(std::begin(slot.endings), std::end(slot.endings), -1);
      after_prompt(*decoder, random_ids(21, model.spec.vocab_size, 1), pages);
      const FirstDraw draw{0, 0};
      ASSERT_TRUE(decoder->draw_first({&draw, 1}).ok());
      ASSERT_TRUE(decoder->run_steps().ok());
      ids[recorded].assign(slot.ids, slot.ids + slot.drawn);
      logits[recorded].resize(static_cast<size_t>(model.spec.vocab_size));
      ASSERT_TRUE(decoder->read_logits(0, logits[recorded]).ok());
    }
    EXPECT_EQ(ids[0].size(), 5u);
    EXPECT_EQ(ids[0], ids[1]);
    EXPECT_EQ(std::memcmp(logits[0].data(), logits[1].data(), logits[0].size() * sizeof(float)), 0);
  }
}

TEST(DeviceDecoder, SaysWhenMemoryDoesNotSuffice) {
  const Model model = lively_model(llama_spec(), 7);
  auto on_device = DeviceModel::create(model.spec, model.tensors, DType::kF32, host_decode_kernels()).value();
  const auto made = [&](int64_t bytes) {
    return DeviceDecoder::create(on_device, {.memory_bytes = bytes}, {4, 100, 50});
  };
  const auto all = made(int64_t{1} << 30);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ((*all)->pages().count(), 50) << "no more than asked for";
  const Status little = made(1000).status();
  EXPECT_EQ(little.code(), Code::kResourceExhausted);
  EXPECT_NE(little.message().find("no page"), std::string::npos) << little.message();

  // Nine tenths of what is free: some of the pages; and none.
  testing::HostDevice& device = testing::new_host_device();
  const int64_t held = device.allocated;
  device.memory = 2 * held;
  const auto some = DeviceDecoder::create(on_device, {}, {4, 100, 100000});
  ASSERT_TRUE(some.ok()) << some.status().message();
  EXPECT_LE(device.allocated, held + held / 10 * 9);
  EXPECT_GT(device.allocated, held + held / 10 * 8);
  device.memory = device.allocated;
  EXPECT_EQ(made(int64_t{1} << 30).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(
      DeviceModel::create(model.spec, model.tensors, DType::kF32, host_decode_kernels()).status().code(),
      Code::kResourceExhausted);
  testing::new_host_device();
}

// By which `fulcrum plan` knows what generation will take.
TEST(DeviceDecoder, TakesAsManyBytesAsItSays) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    const Model model = lively_model(spec, 7);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const int64_t before = testing::new_host_device().allocated;
      auto on_device = DeviceModel::create(spec, model.tensors, dtype, host_decode_kernels()).value();
      const int64_t with_model = testing::host_device().allocated;
      EXPECT_EQ(with_model - before, DeviceModel::bytes(spec, dtype));
      const DeviceDecoder::Size size{.places = 5, .longest = 100, .pages = 30};
      const auto decoder = DeviceDecoder::create(on_device, {}, size).value();
      EXPECT_EQ(testing::host_device().allocated - with_model, DeviceDecoder::bytes(spec, dtype, size));
    }
  }
}

TEST(DeviceModel, RefusesWhatTheDecodeModelRefusesInTheSameWords) {
  Model model = lively_model(llama_spec(), 7);
  const auto both = [&](const ModelSpec& spec, const TensorMap& tensors, DType dtype) {
    const Status device = DeviceModel::create(spec, tensors, dtype, host_decode_kernels()).status();
    EXPECT_EQ(device.message(), DecodeModel::create(spec, tensors, dtype).status().message());
    return device.code();
  };
  EXPECT_EQ(both(model.spec, model.tensors, DType::kF16), Code::kInvalidArgument);
  TensorMap fewer = model.tensors;
  fewer.erase("model.norm.weight");
  EXPECT_EQ(both(model.spec, fewer, DType::kF32), Code::kInvalidArgument);
  ModelSpec odd = model.spec;
  odd.head_dim = 9;
  EXPECT_EQ(both(odd, model.tensors, DType::kF32), Code::kInvalidArgument);
}

TEST(DevicePages, AreFreeWhenTheLastHolderLetsGo) {
  DevicePages pool(6);
  PageList first(pool);
  first.take(4);
  EXPECT_EQ(pool.free(), 2);
  std::vector<int32_t> shared(first.pages().begin(), first.pages().begin() + 3);
  {
    PageList second(pool);
    second.share(shared);
    second.take(1);
    EXPECT_EQ(pool.free(), 1);
    first = PageList(pool);
    EXPECT_EQ(pool.free(), 2) << "three are still shared";
    EXPECT_EQ(std::vector<int32_t>(second.pages().begin(), second.pages().begin() + 3), shared);
  }
  EXPECT_EQ(pool.free(), 6);
}

}  // namespace
}  // namespace fulcrum
