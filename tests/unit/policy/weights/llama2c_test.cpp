#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>

#include "engine/core/rng.h"
#include "policy/weights/formats.h"
#include "policy/weights/model_spec.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;

// dim 8, hidden 6, 2 layers, 2 heads, 1 kv head, vocabulary 5, 3 positions; value i of the file is i.
std::string small_checkpoint(int32_t vocab) {
  const std::array<int32_t, 7> header{8, 6, 2, 2, 1, vocab, 3};
  const size_t layer = 8 + 64 + 32 + 32 + 64 + 8 + 48 + 48 + 48;
  std::vector<float> values(5 * 8 + 2 * layer + 8 + 3 * 4 + (vocab < 0 ? 5 * 8 : 0));
  std::iota(values.begin(), values.end(), 0.f);
  std::string out(sizeof(header) + values.size() * sizeof(float), '\0');
  std::memcpy(out.data(), header.data(), sizeof(header));
  std::memcpy(out.data() + sizeof(header), values.data(), values.size() * sizeof(float));
  return out;
}

class Llama2c : public ::testing::Test {
 protected:
  Result<Model> load(const std::string& bytes) {
    EXPECT_TRUE(write_file_atomic(folder_.path() / "x.bin", bytes).ok());
    return load_model(folder_.path() / "x.bin");
  }
  TempFolder folder_;
};

TEST_F(Llama2c, APositiveVocabularyTiesTheEmbeddings) {
  const auto model = load(small_checkpoint(5));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE(model->spec.tie_word_embeddings);
  EXPECT_FALSE(model->tensors.contains("lm_head.weight"));
  EXPECT_EQ(model->folder, folder_.path());
}

TEST_F(Llama2c, ANegativeVocabularyHasItsOwnHeadAtTheEnd) {
  const std::string file = small_checkpoint(-5);
  const auto model = load(file);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_FALSE(model->spec.tie_word_embeddings);
  const float last = static_cast<float>((file.size() - 28) / 4 - 1);
  EXPECT_EQ(to_float(model->tensors.at("lm_head.weight"))->back(), last);
}

TEST_F(Llama2c, AFolderThatHoldsOneAndNoConfigNamesTheFile) {
  EXPECT_TRUE(write_file_atomic(folder_.path() / "tok.bin", "not a model").ok());
  const Status without = load_model(folder_.path()).status();
  EXPECT_EQ(without.code(), Code::kNotFound);
  EXPECT_THAT(without.message(), HasSubstr("no config.json in '" + folder_.path().string() + "'; name a "));
  ASSERT_TRUE(load(small_checkpoint(5)).ok());
  const Status with = load_model(folder_.path()).status();
  EXPECT_EQ(with.code(), Code::kNotFound);
  EXPECT_THAT(with.message(), HasSubstr("name the file, '" + (folder_.path() / "x.bin").string() + "'"));
}

TEST_F(Llama2c, RotaryRowsGoFromPairsToHalves) {
  const auto model = load(small_checkpoint(5));
  ASSERT_TRUE(model.ok());
  const auto q = *to_float(model->tensors.at("model.layers.0.self_attn.q_proj.weight"));
  std::vector<int> rows;
  for (size_t r = 0; r < 8; ++r) rows.push_back(static_cast<int>(q[r * 8] - (40 + 16)) / 8);
  EXPECT_EQ(rows, (std::vector<int>{0, 2, 1, 3, 4, 6, 5, 7}));
  const auto v = *to_float(model->tensors.at("model.layers.1.self_attn.v_proj.weight"));
  EXPECT_EQ(v[0], 40 + 16 + 128 + 64 + 32);  // v rows stay where they were
}

TEST_F(Llama2c, OnlyTheExactSizeIsACheckpoint) {
  for (const int32_t vocab : {5, -5}) {
    const std::string whole = small_checkpoint(vocab);
    for (size_t n = 0; n < whole.size(); n += n < 40 ? 1 : 61)
      EXPECT_FALSE(load(whole.substr(0, n)).ok()) << n;
    EXPECT_FALSE(load(whole.substr(0, whole.size() - 1)).ok());
    EXPECT_THAT(load(whole + "x").status().message(), HasSubstr("bytes but the file has"));
  }
}

TEST_F(Llama2c, HostileHeadersAreRefused) {
  const std::string whole = small_checkpoint(5);
  const auto error_with = [&](size_t field, int32_t value) {
    std::string file = whole;
    std::memcpy(file.data() + field * 4, &value, 4);
    return load(file).status().message();
  };
  for (size_t field = 0; field < 7; ++field) {
    for (const int32_t value : {0, -1, INT32_MIN, INT32_MAX, 1 << 22})
      EXPECT_FALSE(error_with(field, value).empty()) << field << " " << value;
  }
  EXPECT_THAT(error_with(0, 0x616b3432), HasSubstr("version 6; only version 0"));
  EXPECT_THAT(error_with(3, 3), HasSubstr("head counts"));
  Rng rng(5, Purpose::kTest);
  for (int round = 0; round < 300; ++round) {
    std::string file = whole;
    file[rng.below(28)] = static_cast<char>(rng.below(256));
    const auto model = load(file);
    EXPECT_TRUE(!model.ok() || check_tensors(model->spec, model->tensors).ok());
  }
}

TEST_F(Llama2c, TheRealModelSurvivesAnExportBitForBit) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/stories260K.bin");
  const auto model = load_model(testing::test_data() / "tinyllama-260k/stories260K.bin");
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->spec.hidden_size, 64);
  EXPECT_EQ(model->spec.num_key_value_heads, 4);
  EXPECT_EQ(model->spec.vocab_size, 512);
  EXPECT_TRUE(model->spec.tie_word_embeddings);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : model->tensors) parameters += tensor.numel();
  EXPECT_EQ(parameters, 260032);
  const TempFolder out;
  const std::vector<Path> tokenizer{testing::test_data() / "tinyllama-260k/tok512.model"};
  ASSERT_TRUE(write_model(out.path(), *model, tokenizer).ok());
  const auto read = load_model(out.path());
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(content_hash(read->tensors), content_hash(model->tensors));
  EXPECT_EQ(dump_json(model_config_json(read->spec)), dump_json(model_config_json(model->spec)));
  EXPECT_TRUE(std::filesystem::exists(out.path() / "tokenizer.model"));
}

}  // namespace
}  // namespace fulcrum
