#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "engine/core/rng.h"
#include "policy/weights/formats.h"
#include "policy/weights/llama_tokenizer_config.h"
#include "policy/weights/model_spec.h"
#include "policy/weights/safetensors.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;

ModelSpec small_spec(const std::string& type = "llama") {
  ModelSpec spec;
  spec.model_type = type;
  spec.vocab_size = 7;
  spec.hidden_size = 8;
  spec.intermediate_size = 12;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 2;
  spec.bos_token_id = 1;
  spec.eos_token_ids = {2};
  spec.attention_bias = type == "qwen2";
  return spec;
}

Json small_config() { return model_config_json(small_spec()); }

void write_text(const Path& path, const std::string& text) {
  ASSERT_TRUE(write_file_atomic(path, text).ok());
}

std::string load_error(const Path& path) { return load_model(path).status().message(); }

TEST(ScoreModel, IsWrittenAsTransformersSequenceClassificationWithOneLabelAndReadBack) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    const TempFolder folder;
    ModelSpec spec = small_spec(type);
    spec.score_head = true;
    const Model model = random_model(spec, 3);
    ASSERT_EQ(model.tensors.at("score.weight").shape, (std::vector<int64_t>{1, 8}));
    EXPECT_FALSE(model.tensors.contains("lm_head.weight"));
    ASSERT_TRUE(write_model(folder.path(), model, {}).ok());
    const Json config = parse_json(read_file(folder.path() / "config.json").value()).value();
    EXPECT_THAT(config["architectures"][0].get<std::string>(), HasSubstr("ForSequenceClassification"));
    EXPECT_EQ(config["id2label"].size(), 1U) << "transformers makes two labels where it is not told";
    const auto read = load_model(folder.path());
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_TRUE(read->spec.score_head);
    EXPECT_EQ(content_hash(read->tensors), content_hash(model.tensors));
  }
}

TEST(ScoreModel, OfSeveralLabelsIsRefused) {
  ModelSpec spec = small_spec();
  spec.score_head = true;
  Json config = model_config_json(spec);
  config["id2label"] = {{"0", "bad"}, {"1", "good"}};
  EXPECT_THAT(parse_model_config(config).status().message(), HasSubstr("2 labels"));
  config.erase("id2label");
  EXPECT_THAT(parse_model_config(config).status().message(), HasSubstr("2 labels"));
}

TEST(ScoreModel, MadeOfALanguageModelKeepsTheBodyAndStartsAtZero) {
  const Model model = random_model(small_spec(), 3);
  const Model scorer = as_score_model(model);
  ASSERT_TRUE(check_tensors(scorer.spec, scorer.tensors).ok());
  EXPECT_EQ(to_float(scorer.tensors.at("score.weight")).value(), std::vector<float>(8, 0.0F));
  for (const auto& [name, tensor] : scorer.tensors) {
    if (name == "score.weight") continue;
    EXPECT_EQ(to_float(tensor).value(), to_float(model.tensors.at(name)).value()) << name;
  }
  EXPECT_EQ(content_hash(as_score_model(scorer).tensors), content_hash(scorer.tensors));
}

TEST(ModelConfig, IsReadBackFromWhatIsWrittenForEveryFamily) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    ModelSpec spec = small_spec(type);
    spec.rope_theta = 1e6;
    spec.eos_token_ids = {2, 3};
    spec.tie_word_embeddings = true;
    spec.dtype = DType::kBF16;
    spec.max_position_embeddings = 100000;
    spec.rope_scaling = RopeScaling{
        .factor = 32, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position_embeddings = 8192};
    const auto read = parse_model_config(model_config_json(spec));
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(dump_json(model_config_json(*read)), dump_json(model_config_json(spec)));
    EXPECT_EQ(read->attention_bias, spec.attention_bias);
    EXPECT_EQ(read->rope_scaling->factor, 32);
    EXPECT_EQ(read->max_position_embeddings, 100000);
  }
}

TEST(ModelConfig, LlamaDefaultsAreTransformersDefaults) {
  const auto spec = parse_model_config(*parse_json(
      R"({"model_type":"llama","vocab_size":32,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,"num_attention_heads":4,"pad_token_id":-1})"));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->num_key_value_heads, 4);
  EXPECT_EQ(spec->head_dim, 16);
  EXPECT_EQ(spec->rms_norm_eps, 1e-6);
  EXPECT_EQ(spec->rope_theta, 10000);
  EXPECT_FALSE(spec->tie_word_embeddings);
  EXPECT_FALSE(spec->pad_token_id.has_value());
  EXPECT_TRUE(spec->eos_token_ids.empty());
}

TEST(ModelConfig, ReadsTheNewerPlaceOfRopeParameters) {
  Json config = small_config();
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500000.0}};
  EXPECT_EQ(parse_model_config(config)->rope_theta, 500000);
}

TEST(ModelConfig, ASlidingWindowLimitsThePositions) {
  Json mistral = model_config_json(small_spec("mistral"));
  mistral["max_position_embeddings"] = 32768;
  EXPECT_EQ(parse_model_config(mistral)->max_position_embeddings, 32768);
  mistral["sliding_window"] = 1024;
  EXPECT_EQ(parse_model_config(mistral)->max_position_embeddings, 1024);
  mistral.erase("sliding_window");
  EXPECT_EQ(parse_model_config(mistral)->max_position_embeddings, 4096);
  Json qwen = model_config_json(small_spec("qwen2"));
  qwen["max_position_embeddings"] = 32768;
  qwen["sliding_window"] = 1024;
  EXPECT_EQ(parse_model_config(qwen)->max_position_embeddings, 32768);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(parse_model_config(qwen)->max_position_embeddings, 1024);
}

TEST(ModelConfig, WhatIsNotSupportedIsAnErrorThatNamesTheKey) {
  const auto error = [](const std::string& key, const Json& value) {
    Json config = small_config();
    config[key] = value;
    return parse_model_config(config).status().message();
  };
  EXPECT_THAT(error("model_type", "gpt2"), HasSubstr("'model_type' is 'gpt2'"));
  EXPECT_THAT(error("architectures", Json::array({"LlamaForTokenClassification"})),
              HasSubstr("'architectures'"));
  EXPECT_THAT(error("hidden_act", "gelu"), HasSubstr("'hidden_act' is 'gelu'"));
  EXPECT_THAT(error("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}), HasSubstr("'linear'"));
  EXPECT_THAT(error("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}),
              HasSubstr("'low_freq_factor' is missing"));
  EXPECT_THAT(error("attention_bias", true), HasSubstr("'attention_bias'"));
  EXPECT_THAT(error("mlp_bias", true), HasSubstr("'mlp_bias'"));
  EXPECT_THAT(error("quantization_config", {{"bits", 4}}), HasSubstr("'quantization_config'"));
  EXPECT_THAT(error("vocab_size", 0), HasSubstr("'vocab_size' is 0"));
  EXPECT_THAT(error("vocab_size", int64_t{1} << 40), HasSubstr("'vocab_size'"));
  EXPECT_THAT(error("hidden_size", "64"), HasSubstr("'hidden_size' must be an integer"));
  EXPECT_THAT(error("num_key_value_heads", 3), HasSubstr("'num_key_value_heads' must divide"));
  EXPECT_THAT(error("head_dim", 3), HasSubstr("'head_dim' must be even"));
  EXPECT_THAT(error("eos_token_id", 7), HasSubstr("'eos_token_id'"));
  EXPECT_THAT(error("rms_norm_eps", 0), HasSubstr("'rms_norm_eps'"));
  EXPECT_THAT(error("torch_dtype", "int8"), HasSubstr("'torch_dtype'"));
  EXPECT_THAT(parse_model_config(Json::array()).status().message(), HasSubstr("not a JSON object"));
}

TEST(RandomModel, IsAFunctionOfItsSeedWithTheUsualSpread) {
  ModelSpec spec = small_spec("qwen2");
  spec.vocab_size = 2000;
  const Model model = random_model(spec, 5);
  EXPECT_EQ(content_hash(model.tensors), content_hash(random_model(spec, 5).tensors));
  EXPECT_NE(content_hash(model.tensors), content_hash(random_model(spec, 6).tensors));
  const auto values = *to_float(model.tensors.at("model.embed_tokens.weight"));
  double squares = 0;
  for (const float v : values) squares += v * v;
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(values.size())), 0.02, 0.0005);
  EXPECT_EQ((*to_float(model.tensors.at("model.norm.weight")))[3], 1.f);
  EXPECT_EQ((*to_float(model.tensors.at("model.layers.0.self_attn.k_proj.bias")))[0], 0.f);
  EXPECT_TRUE(check_tensors(spec, model.tensors).ok());
}

TEST(ModelFolder, AWrittenModelIsReadBackAndWritesTheSameBytes) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    const TempFolder first, second;
    const Model model = random_model(small_spec(type), 1);
    write_text(first.path() / "some.model", "spm");
    const std::vector<Path> tokenizer{first.path() / "some.model"};
    ASSERT_TRUE(write_model(first.path(), model, tokenizer).ok());
    const auto read = load_model(first.path());
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(content_hash(read->tensors), content_hash(model.tensors));
    EXPECT_EQ(read->folder, first.path());
    EXPECT_EQ(*read_file(first.path() / "tokenizer.model"), "spm");
    ASSERT_TRUE(write_model(second.path(), *read, {}).ok());
    for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
      EXPECT_EQ(*read_file(first.path() / file), *read_file(second.path() / file)) << file;
    }
  }
}

// `transformers` takes a SentencePiece model without it for another tokenizer, silently.
TEST(ModelFolder, ASentencePieceModelGetsAConfigUnlessItHasOne) {
  const TempFolder from, alone, both;
  write_text(from.path() / "some.model", "spm");
  write_text(from.path() / "tokenizer_config.json", "{}");
  const Model model = random_model(small_spec(), 1);
  ASSERT_TRUE(write_model(alone.path(), model, std::vector<Path>{from.path() / "some.model"}).ok());
  EXPECT_EQ(*read_file(alone.path() / "tokenizer_config.json"), kLlamaTokenizerConfig);
  EXPECT_TRUE(parse_json(std::string(kLlamaTokenizerConfig)).ok());
  ASSERT_TRUE(
      write_model(both.path(), model,
                  std::vector<Path>{from.path() / "some.model", from.path() / "tokenizer_config.json"})
          .ok());
  EXPECT_EQ(*read_file(both.path() / "tokenizer_config.json"), "{}");
  const TempFolder without_bos;
  Model other = model;
  other.spec.bos_token_id.reset();
  ASSERT_TRUE(write_model(without_bos.path(), other, std::vector<Path>{from.path() / "some.model"}).ok());
  EXPECT_FALSE(std::filesystem::exists(without_bos.path() / "tokenizer_config.json"));
}

TEST(ModelFolder, StopTokensOfGenerationConfigAreAdded) {
  const TempFolder folder;
  ASSERT_TRUE(write_model(folder.path(), random_model(small_spec(), 1), {}).ok());
  write_text(folder.path() / "generation_config.json", R"({"eos_token_id":[2,5]})");
  EXPECT_EQ(load_model(folder.path())->spec.eos_token_ids, (std::vector<TokenId>{2, 5}));
  write_text(folder.path() / "generation_config.json", R"({"eos_token_id":[7]})");
  EXPECT_THAT(load_error(folder.path()), HasSubstr("below vocab_size"));
}

TEST(ModelFolder, TokenizerFilesNeverOverwriteTheModel) {
  const TempFolder folder, other;
  write_text(other.path() / "config.json", "{}");
  const std::vector<Path> files{other.path() / "config.json"};
  EXPECT_THAT(write_model(folder.path(), random_model(small_spec(), 1), files).message(),
              HasSubstr("would overwrite 'config.json'"));
}

TEST(ModelFolder, MissingSurplusAndMisshapenTensorsAreNamed) {
  const Model good = random_model(small_spec(), 1);
  const TempFolder folder;
  ASSERT_TRUE(write_model(folder.path(), good, {}).ok());
  const auto error_with = [&](const std::function<void(TensorMap&)>& change) {
    TensorMap tensors = good.tensors;
    change(tensors);
    EXPECT_TRUE(write_safetensors(folder.path() / "model.safetensors", tensors).ok());
    return load_error(folder.path());
  };
  EXPECT_EQ(error_with([](TensorMap&) {}), "");
  EXPECT_THAT(error_with([](TensorMap& t) { t.erase("model.norm.weight"); }),
              HasSubstr("'model.norm.weight' is missing"));
  EXPECT_THAT(error_with([](TensorMap& t) { t["score.weight"] = t["model.norm.weight"]; }),
              HasSubstr("'score.weight' is not one of"));
  EXPECT_THAT(error_with([](TensorMap& t) {
                t["lm_head.weight"].shape = {8, 7};
              }),
              HasSubstr("'lm_head.weight' has shape [8, 7]; the config says [7, 8]"));
  EXPECT_THAT(error_with([](TensorMap& t) { t["model.norm.weight"].dtype = DType::kI32; }),
              HasSubstr("has type I32"));
  EXPECT_EQ(error_with([](TensorMap& t) {
              t["model.layers.0.self_attn.rotary_emb.inv_freq"] = t["model.norm.weight"];
            }),
            "");
}

TEST(ModelFolder, ATiedHeadInTheFileMustBeTheEmbedding) {
  ModelSpec spec = small_spec();
  spec.tie_word_embeddings = true;
  const TempFolder folder;
  Model model = random_model(spec, 1);
  ASSERT_TRUE(write_model(folder.path(), model, {}).ok());
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"];
  ASSERT_TRUE(write_safetensors(folder.path() / "model.safetensors", model.tensors).ok());
  EXPECT_FALSE(load_model(folder.path())->tensors.contains("lm_head.weight"));
  model.tensors["lm_head.weight"] = make_tensor({7, 8}, std::vector<float>(56));
  ASSERT_TRUE(write_safetensors(folder.path() / "model.safetensors", model.tensors).ok());
  EXPECT_THAT(load_error(folder.path()), HasSubstr("ties the embeddings"));
}

// The model in two shards and an index, as large checkpoints come.
Json write_shards(const Path& folder, const Model& model) {
  TensorMap shards[2];
  Json map = Json::object();
  size_t i = 0;
  for (const auto& [name, tensor] : model.tensors) {
    const size_t shard = i++ % 2;
    shards[shard][name] = tensor;
    map[name] = shard == 0 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  }
  EXPECT_TRUE(write_file_atomic(folder / "config.json", dump_json(model_config_json(model.spec))).ok());
  EXPECT_TRUE(write_safetensors(folder / "model-00001-of-00002.safetensors", shards[0]).ok());
  EXPECT_TRUE(write_safetensors(folder / "model-00002-of-00002.safetensors", shards[1]).ok());
  Json index{{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
  EXPECT_TRUE(write_file_atomic(folder / "model.safetensors.index.json", dump_json(index)).ok());
  return index;
}

TEST(ModelFolder, ShardsAreOneModel) {
  const TempFolder folder;
  const Model model = random_model(small_spec(), 3);
  write_shards(folder.path(), model);
  const auto read = load_model(folder.path());
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(content_hash(read->tensors), content_hash(model.tensors));
}

TEST(ModelFolder, AnIndexCannotReachOutOfTheFolderOrDisagreeWithItsShards) {
  const TempFolder folder;
  const Json index = write_shards(folder.path(), random_model(small_spec(), 3));
  const auto error_with = [&](const std::string& tensor, const Json& file) {
    Json changed = index;
    changed["weight_map"][tensor] = file;
    write_text(folder.path() / "model.safetensors.index.json", dump_json(changed));
    return load_error(folder.path());
  };
  for (const char* name : {"../x.safetensors", "/etc/passwd", "..", "", "sub/x", "a\0b"}) {
    EXPECT_FALSE(error_with("lm_head.weight", name).empty()) << name;
  }
  EXPECT_THAT(error_with("lm_head.weight", "../x"),
              HasSubstr("'lm_head.weight' is not in a file of this folder"));
  EXPECT_THAT(error_with("lm_head.weight", 3), HasSubstr("not in a file of this folder"));
  EXPECT_THAT(error_with("lm_head.weight", "model-00002-of-00002.safetensors"),
              HasSubstr("is not there in the index"));
  EXPECT_THAT(error_with("extra", "model-00002-of-00002.safetensors"),
              HasSubstr("'extra' of the index is missing"));
  EXPECT_THAT(error_with("extra", "model-00003-of-00003.safetensors"), HasSubstr("cannot open"));
  write_text(folder.path() / "model.safetensors.index.json", "[]");
  EXPECT_THAT(load_error(folder.path()), HasSubstr("'weight_map'"));
}

TEST(ModelFolder, WhatIsNoModelIsSaidInOneLine) {
  const TempFolder folder;
  EXPECT_THAT(load_error(folder.path() / "none"), HasSubstr("no model at"));
  EXPECT_THAT(load_error(folder.path()), HasSubstr("config.json"));
  write_text(folder.path() / "config.json", dump_json(small_config()));
  EXPECT_THAT(load_error(folder.path()), HasSubstr("neither model.safetensors nor"));
  write_text(folder.path() / "config.json", "{\"a\":");
  EXPECT_THAT(load_error(folder.path()), HasSubstr("config.json': line 1"));
  write_text(folder.path() / "x.txt", "");
  EXPECT_THAT(load_error(folder.path() / "x.txt"), HasSubstr("is not a model"));
}

TEST(DigitCompletion, LoadsAndIsWrittenBackByteForByte) {
  FULCRUM_NEEDS_DATA("digit-completion/model.safetensors");
  const Path source = testing::test_data() / "digit-completion";
  const auto model = load_model(source);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->spec.dtype, DType::kBF16);
  EXPECT_EQ(model->spec.num_hidden_layers, 4);
  EXPECT_EQ(model->spec.eos_token_ids, std::vector<TokenId>{1});
  EXPECT_EQ(model->tensors.size(), 39u);
  const TempFolder folder;
  const std::vector<Path> tokenizer{source / "tokenizer_config.json"};
  ASSERT_TRUE(write_model(folder.path(), *model, tokenizer).ok());
  EXPECT_TRUE(*read_file(folder.path() / "model.safetensors") == *read_file(source / "model.safetensors"));
  const Json config = *parse_json(*read_file(folder.path() / "config.json"));
  const Json original = *parse_json(*read_file(source / "config.json"));
  for (const char* key : {"architectures", "vocab_size", "eos_token_id", "bos_token_id", "torch_dtype",
                          "rms_norm_eps", "rope_theta"}) {
    EXPECT_EQ(config[key], original[key]) << key;
  }
}

}  // namespace
}  // namespace fulcrum
