#include "policy/decode/decoder.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/test_data.h"
#include "tests/unit/policy/decode/plain_model.h"

namespace fulcrum {
namespace {

using testing::lively_model;
using testing::PlainModel;
using testing::random_ids;
using testing::Row;

ModelSpec llama_spec() {
  ModelSpec s;
  s.vocab_size = 37;
  s.hidden_size = 24;
  s.intermediate_size = 44;
  s.num_hidden_layers = 3;
  s.num_attention_heads = 6;
  s.num_key_value_heads = 2;
  s.head_dim = 10;  // heads * head_dim is not hidden_size, as in Mistral-Nemo
  s.max_position_embeddings = 512;
  s.rms_norm_eps = 1e-5;
  return s;
}

ModelSpec qwen2_spec() {
  ModelSpec s = llama_spec();
  s.model_type = "qwen2";
  s.attention_bias = true;
  s.tie_word_embeddings = true;
  s.num_key_value_heads = 6;
  s.head_dim = 4;
  return s;
}

ModelSpec llama3_spec() {
  ModelSpec s = llama_spec();
  s.rope_theta = 500;
  s.rope_scaling = RopeScaling{8, 1, 4, 64};
  return s;
}

std::shared_ptr<const DecodeModel> packed(const Model& model, DType dtype = DType::kF32) {
  auto result = DecodeModel::create(model.spec, model.tensors, dtype);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.value();
}

TensorView rounded_to_bf16(const TensorView& tensor) {
  const std::vector<double> values = to_double(tensor).value();
  return make_tensor(tensor.shape, std::span(values), DType::kBF16).value();
}

using Bits = std::vector<uint32_t>;
Bits bits(std::span<const float> x) {
  Bits out;
  for (const float v : x) out.push_back(std::bit_cast<uint32_t>(v));
  return out;
}

std::vector<DecodeRow> rows_of(KvSequence& sequence, std::span<const TokenId> ids) {
  std::vector<DecodeRow> rows;
  for (const TokenId id : ids) rows.push_back({&sequence, id, true});
  return rows;
}

// The logits after every token, all tokens in one call.
std::vector<Bits> in_one_call(Decoder& decoder, std::span<const TokenId> ids) {
  KvSequence sequence = decoder.new_sequence();
  EXPECT_TRUE(decoder.run(rows_of(sequence, ids)));
  std::vector<Bits> out;
  for (size_t i = 0; i < ids.size(); ++i) out.push_back(bits(decoder.logits(i)));
  return out;
}

TEST(Decoder, GivesTheLogitsOfThePlainForwardPass) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec(), llama3_spec()}) {
    const Model model = lively_model(spec, 7);
    const std::vector<TokenId> ids = random_ids(50, spec.vocab_size, 1);
    const std::vector<Row> expected = PlainModel(model).logits(ids);
    Workers one(1);
    Decoder decoder(packed(model), one);
    KvSequence sequence = decoder.new_sequence();
    ASSERT_TRUE(decoder.run(rows_of(sequence, ids)));
    for (size_t t = 0; t < ids.size(); ++t) {
      for (size_t v = 0; v < expected[t].size(); ++v) {
        ASSERT_NEAR(decoder.logits(t)[v], expected[t][v], 5e-5)
            << spec.model_type << " token " << t << " logit " << v;
      }
    }
  }
}

// In bf16 a weight and a product's input are off by up to 2^-9 of themselves; three layers of that stay
// within some hundredths of logits of about unit size.
TEST(Decoder, GivesInBfloat16TheLogitsOfTheRoundedWeightsButForTheRoundingOfInputs) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec(), llama3_spec()}) {
    Model model = lively_model(spec, 7);
    const std::vector<TokenId> ids = random_ids(50, spec.vocab_size, 1);
    Workers one(1);
    Decoder decoder(packed(model, DType::kBF16), one);
    KvSequence sequence = decoder.new_sequence();
    ASSERT_TRUE(decoder.run(rows_of(sequence, ids)));
    for (auto& [name, tensor] : model.tensors) tensor = rounded_to_bf16(tensor);
    const std::vector<Row> expected = PlainModel(model).logits(ids);
    double squares = 0, size = 0, count = 0;
    for (size_t t = 0; t < ids.size(); ++t) {
      for (size_t v = 0; v < expected[t].size(); ++v) {
        const double off = decoder.logits(t)[v] - expected[t][v];
        squares += off * off;
        size += expected[t][v] * expected[t][v];
        count += 1;
      }
    }
    EXPECT_LT(std::sqrt(squares / size), 0.02) << spec.model_type;
    EXPECT_GT(std::sqrt(squares / size), 1e-4) << "nothing was rounded";
    EXPECT_GT(size / count, 0.5) << "logits that small say nothing";
  }
}

TEST(Decoder, GivesTheSameBitsTokenByTokenAndInOneCall) {
  const Model model = lively_model(llama_spec(), 3);
  const std::vector<TokenId> ids = random_ids(150, 37, 2);
  Workers one(1);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Decoder decoder(packed(model, dtype), one);
    const std::vector<Bits> together = in_one_call(decoder, ids);  // more than one chunk of rows
    KvSequence sequence = decoder.new_sequence();
    for (size_t t = 0; t < ids.size(); ++t) {
      const DecodeRow row{&sequence, ids[t], true};
      ASSERT_TRUE(decoder.run({&row, 1}));
      ASSERT_EQ(bits(decoder.logits(0)), together[t]) << "token " << t;
    }
  }
}

void expect_rows_independent(const std::shared_ptr<const DecodeModel>& shared) {
  std::vector<std::vector<TokenId>> texts;
  std::vector<std::vector<Bits>> alone;
  Workers one(1);
  for (int64_t i = 0; i < 33; ++i) {
    texts.push_back(random_ids(5 + i, 37, 100 + static_cast<uint64_t>(i)));
    Decoder decoder(shared, one);
    alone.push_back(in_one_call(decoder, texts.back()));
  }
  for (const int64_t threads : {1, 2, 3}) {
    Workers workers(threads);
    for (const size_t batch : {1, 2, 3, 4, 7, 16, 33}) {
      Decoder decoder(shared, workers);
      std::vector<KvSequence> sequences;
      for (size_t i = 0; i < batch; ++i) sequences.push_back(decoder.new_sequence());
      std::vector<DecodeRow> rows;
      std::vector<std::pair<size_t, size_t>> origin;
      for (size_t i = 0; i < batch; ++i) {
        for (size_t t = 0; t < texts[i].size(); ++t) {
          rows.push_back({&sequences[i], texts[i][t], t % 3 != 1});
          origin.emplace_back(i, t);
        }
      }
      ASSERT_TRUE(decoder.run(rows));
      for (size_t r = 0; r < rows.size(); ++r) {
        if (!rows[r].wants_logits) continue;
        ASSERT_EQ(bits(decoder.logits(r)), alone[origin[r].first][origin[r].second])
            << threads << " threads, batch " << batch << ", row " << r;
      }
    }
  }
}

TEST(Decoder, GivesARowTheSameBitsInEveryBatchAndWithAnyThreads) {
  expect_rows_independent(packed(lively_model(llama_spec(), 3)));
}

TEST(Decoder, GivesARowTheSameBitsInEveryBatchAndWithAnyThreadsInBfloat16) {
  expect_rows_independent(packed(lively_model(llama_spec(), 3), DType::kBF16));
}

TEST(Decoder, ContinuesASharedPromptAsIfItWereItsOwn) {
  const Model model = lively_model(llama_spec(), 3);
  Workers one(1);
  Decoder decoder(packed(model), one);
  for (const int64_t prompt_length : {1, 15, 16, 17, 40}) {
    const std::vector<TokenId> prompt = random_ids(prompt_length, 37, 5);
    KvSequence shared = decoder.new_sequence();
    ASSERT_TRUE(decoder.run(rows_of(shared, prompt)));
    KvSequence first = shared.fork(), second = shared.fork();
    for (const auto& [sequence, seed] : {std::pair{&first, uint64_t{11}}, std::pair{&second, uint64_t{12}}}) {
      const std::vector<TokenId> rest = random_ids(20, 37, seed);
      std::vector<TokenId> whole = prompt;
      whole.insert(whole.end(), rest.begin(), rest.end());
      Decoder fresh(packed(model), one);
      const std::vector<Bits> expected = in_one_call(fresh, whole);
      ASSERT_TRUE(decoder.run(rows_of(*sequence, rest)));
      for (size_t t = 0; t < rest.size(); ++t) {
        ASSERT_EQ(bits(decoder.logits(t)), expected[prompt.size() + t])
            << "prompt " << prompt_length << " token " << t;
      }
    }
    EXPECT_EQ(first.length(), prompt_length + 20);
    if (prompt_length >= 16) {
      EXPECT_EQ(first.pages()[0], second.pages()[0]) << "full pages are shared";
    } else {
      EXPECT_NE(first.pages()[0], second.pages()[0]) << "a page still written to is not";
    }
  }
}

TEST(Decoder, StopsWhenAsked) {
  const Model model = lively_model(llama_spec(), 3);
  Workers one(1);
  Decoder decoder(packed(model), one);
  KvSequence sequence = decoder.new_sequence();
  std::stop_source source;
  const DecodeRow row{&sequence, 1, true};
  EXPECT_TRUE(decoder.run({&row, 1}, source.get_token()));
  source.request_stop();
  EXPECT_FALSE(decoder.run({&row, 1}, source.get_token()));
}

TEST(DecodeModel, TakesBfloat16AsTheValuesItHolds) {
  Model rounded = lively_model(llama_spec(), 9), narrow = rounded;
  for (auto& [name, tensor] : rounded.tensors) {
    narrow.tensors[name] = rounded_to_bf16(tensor);
    tensor = make_tensor(tensor.shape, to_float(narrow.tensors[name]).value());
  }
  Workers one(1);
  Decoder from_fp32(packed(rounded), one), from_bf16(packed(narrow), one);
  const std::vector<TokenId> ids = random_ids(9, 37, 4);
  EXPECT_EQ(in_one_call(from_fp32, ids), in_one_call(from_bf16, ids));
}

TEST(DecodeModel, RoundsToBfloat16WhatIsNotRoundedYet) {
  for (const ModelSpec& spec : {llama_spec(), qwen2_spec()}) {
    const Model model = lively_model(spec, 9);
    Model narrow = model;
    for (auto& [name, tensor] : narrow.tensors) tensor = rounded_to_bf16(tensor);
    Workers one(1);
    Decoder wide_in(packed(model, DType::kBF16), one), narrow_in(packed(narrow, DType::kBF16), one);
    const std::vector<TokenId> ids = random_ids(9, 37, 4);
    EXPECT_EQ(in_one_call(wide_in, ids), in_one_call(narrow_in, ids)) << spec.model_type;
  }
}

TEST(DecodeModel, RefusesATypeItCannotGenerateIn) {
  const Model model = lively_model(llama_spec(), 9);
  const Status status = DecodeModel::create(model.spec, model.tensors, DType::kF16).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("float32 or bfloat16"), std::string::npos) << status.message();
}

TEST(DecodeModel, NamesTheTensorThatIsMissingOrMisshapen) {
  Model model = lively_model(llama_spec(), 9);
  const TensorView up = model.tensors.at("model.layers.1.mlp.up_proj.weight");
  model.tensors.erase("model.layers.1.mlp.up_proj.weight");
  Status missing = DecodeModel::create(model.spec, model.tensors).status();
  EXPECT_EQ(missing.code(), Code::kInvalidArgument);
  EXPECT_NE(missing.message().find("'model.layers.1.mlp.up_proj.weight' is missing"), std::string::npos);
  model.tensors["model.layers.1.mlp.up_proj.weight"] = make_tensor({24, 44}, to_float(up).value());
  EXPECT_EQ(DecodeModel::create(model.spec, model.tensors).status().message(),
            "weights: tensor 'model.layers.1.mlp.up_proj.weight' has shape [24, 44]; the config says "
            "[44, 24]");
}

TEST(DecodeModel, RefusesSizesThatCannotBe) {
  const Model model = lively_model(llama_spec(), 9);
  ModelSpec spec = model.spec;
  spec.num_key_value_heads = 4;
  EXPECT_EQ(DecodeModel::create(spec, model.tensors).status().code(), Code::kInvalidArgument);
  spec = model.spec;
  spec.head_dim = 0;
  EXPECT_EQ(DecodeModel::create(spec, model.tensors).status().code(), Code::kInvalidArgument);
}

TEST(DecodeGolden, Stories260KHasTheReferencesLogitsLogProbsAndGreedyTokens) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/reference.json");
  const Path folder = testing::test_data() / "tinyllama-260k";
  auto loaded = load_model(folder / "stories260K.bin");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  auto text = read_file(folder / "reference.json");
  ASSERT_TRUE(text.ok());
  auto cases = parse_json(*text);
  ASSERT_TRUE(cases.ok());
  Workers one(1);
  Decoder decoder(packed(*loaded), one);
  for (const Json& c : *cases) {
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    KvSequence sequence = decoder.new_sequence();
    ASSERT_TRUE(decoder.run(rows_of(sequence, ids)));
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      double sum = 0;
      for (const float v : decoder.logits(t)) sum += std::exp(double{v});
      EXPECT_NEAR(decoder.logits(t)[static_cast<size_t>(ids[t + 1])] - std::log(sum),
                  c.at("logprobs")[t].get<double>(), 2e-4);
    }
    std::vector<float> last(decoder.logits(ids.size() - 1).begin(), decoder.logits(ids.size() - 1).end());
    if (c.contains("last_logits")) {
      for (size_t v = 0; v < last.size(); ++v)
        EXPECT_NEAR(last[v], c.at("last_logits")[v].get<double>(), 2e-4);
    }
    for (const Json& expected : c.at("greedy_ids")) {
      const auto id = static_cast<TokenId>(std::max_element(last.begin(), last.end()) - last.begin());
      ASSERT_EQ(id, expected.get<TokenId>());
      const DecodeRow row{&sequence, id, true};
      ASSERT_TRUE(decoder.run({&row, 1}));
      last.assign(decoder.logits(0).begin(), decoder.logits(0).end());
    }
  }
}

}  // namespace
}  // namespace fulcrum
