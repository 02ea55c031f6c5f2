#include "engine/reference/soup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/core/files.h"
#include "tests/support/test_data.h"
#include "tests/unit/engine/reference/reference_testing.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

Ingredient ingredient(uint64_t seed, const std::string& name = "") {
  return {.name = name.empty() ? "model " + std::to_string(seed) : name,
          .model = random_model(tiny_spec(), seed)};
}

Ingredient with_tensor(const std::string& name, TensorView tensor, const std::string& model = "a model") {
  Ingredient out{.name = model};
  out.model.tensors.emplace(name, std::move(tensor));
  return out;
}

TensorView doubles(std::vector<double> values, DType dtype = DType::kF32) {
  return *make_tensor({static_cast<int64_t>(values.size())}, values, dtype);
}

std::vector<double> of(const Model& model, const std::string& name) {
  return *to_double(model.tensors.at(name));
}

std::string refusal(const std::vector<Ingredient>& models, const SoupPlan& plan) {
  const auto made = make_soup(models, plan);
  EXPECT_FALSE(made.ok());
  return made.status().message();
}

TEST(Soup, OfOneModelHasItsBitsAndOfTwoEqualModelsToo) {
  const Ingredient a = ingredient(1);
  Ingredient half = with_tensor("w", doubles({1.5, -0.0, 3e-8}, DType::kBF16));
  EXPECT_EQ(content_hash(make_soup(std::vector{a}, {.weights = {2}})->tensors),
            content_hash(a.model.tensors));
  EXPECT_EQ(content_hash(make_soup(std::vector{half}, {})->tensors), content_hash(half.model.tensors));
  EXPECT_EQ(content_hash(make_soup(std::vector{a, a}, {})->tensors), content_hash(a.model.tensors));
}

TEST(Soup, WithAllTheWeightOnOneModelHasThatModelsBits) {
  Ingredient a = with_tensor("w", doubles({-0.0, 0.1F, 2})), b = with_tensor("w", doubles({5, 6, 7}));
  EXPECT_EQ(content_hash(make_soup(std::vector{a, b}, {.weights = {1, 0}})->tensors),
            content_hash(a.model.tensors));
  EXPECT_EQ(content_hash(make_soup(std::vector{b, a}, {.weights = {0, 1}})->tensors),
            content_hash(a.model.tensors));
}

TEST(Soup, AveragesInDoubleAndRoundsOnce) {
  // In fp32 1e8 + 1 + 1 would lose both ones.
  const std::vector<Ingredient> models = {with_tensor("w", doubles({1e8})), with_tensor("w", doubles({4})),
                                          with_tensor("w", doubles({4}))};
  EXPECT_EQ(of(*make_soup(models, {.weights = {1, 1, 1}, .normalize = false, .extrapolate = true}), "w")[0],
            100000008.0);
}

TEST(Soup, RulesGivePartsOfTheModelOtherWeightsAndTheFirstThatFitsCounts) {
  const auto model = [](double x) {
    Ingredient out = with_tensor("model.layers.0.mlp.w", doubles({x}));
    out.model.tensors.emplace("model.layers.12.mlp.w", doubles({x}));
    out.model.tensors.emplace("model.layers.1.attn.w", doubles({x}));
    out.model.tensors.emplace("lm_head.weight", doubles({x}));
    return out;
  };
  const std::vector<Ingredient> models = {model(0), model(1)};
  const Model soup = *make_soup(
      models, {.weights = {1, 1}, .rules = {{"0-1", {1, 3}}, {"mlp", {0, 1}}, {"lm_head", {1, 0}}}});
  EXPECT_EQ(of(soup, "model.layers.0.mlp.w")[0], 0.75);
  EXPECT_EQ(of(soup, "model.layers.1.attn.w")[0], 0.75);
  EXPECT_EQ(of(soup, "model.layers.12.mlp.w")[0], 1.0);
  EXPECT_EQ(of(soup, "lm_head.weight")[0], 0.0);
  EXPECT_THAT(refusal(models, {.rules = {{"77", {1, 1}}}}), HasSubstr("weights for '77': no tensor"));
  EXPECT_THAT(refusal(models, {.rules = {{"mlp", {1}}}}), HasSubstr("weights for 'mlp': a soup of 2 models"));
}

TEST(Soup, ExtrapolatesOnlyWhereThatIsSaid) {
  const std::vector<Ingredient> models = {with_tensor("w", doubles({1})), with_tensor("w", doubles({2}))};
  EXPECT_THAT(refusal(models, {.weights = {1.5, -0.5}}), HasSubstr("extrapolate"));
  EXPECT_THAT(refusal(models, {.weights = {0.5, 0.6}, .normalize = false}), HasSubstr("add up to 1"));
  EXPECT_EQ(of(*make_soup(models, {.weights = {1.5, -0.5}, .extrapolate = true}), "w")[0], 0.5);
  EXPECT_THAT(refusal(models, {.weights = {1, -1}, .extrapolate = true}), HasSubstr("not add up to 0"));
  EXPECT_THAT(refusal(models, {.weights = {1, 1, 1}}), HasSubstr("a soup of 2 models was given 3 weights"));
}

TEST(Soup, NamesTheTensorAndTheModelOfAValueThatIsNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Ingredient> models = {with_tensor("w", doubles({1}), "good"),
                                          with_tensor("w", doubles({nan}), "bad")};
  EXPECT_THAT(refusal(models, {}), HasSubstr("tensor 'w' of bad has an infinite or NaN value"));
}

TEST(Soup, BeyondFloat16IsAnErrorThatNamesBfloat16) {
  const std::vector<Ingredient> models = {with_tensor("w", doubles({70000})),
                                          with_tensor("w", doubles({70000}))};
  EXPECT_THAT(refusal(models, {.dtype = DType::kF16}), HasSubstr("tensor 'w' of the soup"));
  EXPECT_THAT(refusal(models, {.dtype = DType::kF16}), HasSubstr("choose bfloat16"));
  EXPECT_EQ(of(*make_soup(models, {.dtype = DType::kBF16}), "w")[0], 70144.0);
}

TEST(Soup, OfIntegersIsThemselvesAndOnlyIfTheyAreEqual) {
  const int64_t three = 3, four = 4;
  const auto integer = [](const int64_t& x) {
    return TensorView{.dtype = DType::kI64, .shape = {1}, .bytes = std::as_bytes(std::span(&x, 1))};
  };
  const Ingredient a = with_tensor("pos", integer(three), "a"), b = with_tensor("pos", integer(four), "b");
  EXPECT_EQ(make_soup(std::vector{a, a}, {})->tensors.at("pos").dtype, DType::kI64);
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("tensor 'pos' holds integers that differ in a and b"));
}

TEST(Soup, InterpolationGoesFromTheBaseToTheSoup) {
  const Ingredient base = with_tensor("w", doubles({1}));
  const std::vector<Ingredient> models = {with_tensor("w", doubles({2})), with_tensor("w", doubles({4}))};
  EXPECT_EQ(of(*make_soup(models, {.base = &base, .interpolation = 0}), "w")[0], 1.0);
  EXPECT_EQ(of(*make_soup(models, {.base = &base, .interpolation = 0.5}), "w")[0], 2.0);
  EXPECT_THAT(refusal(models, {.interpolation = 0.5}), HasSubstr("name it as the base"));
  EXPECT_THAT(refusal(models, {.recipe = SoupRecipe::kSlerp}), HasSubstr("name it as the base"));
}

TEST(Soup, SlerpKeepsTheLengthOfTheTaskVectors) {
  const Ingredient base = with_tensor("w", doubles({1, 1}));
  const std::vector<Ingredient> models = {with_tensor("w", doubles({3, 1})),
                                          with_tensor("w", doubles({1, 3}))};
  const std::vector<double> w = of(*make_soup(models, {.recipe = SoupRecipe::kSlerp, .base = &base}), "w");
  EXPECT_NEAR(std::hypot(w[0] - 1, w[1] - 1), 2.0, 1e-6);
  EXPECT_EQ(w[0], w[1]);
}

TEST(Slerp, OfOppositeVectorsIsTheStraightLineAndSaysSo) {
  const std::vector<double> a = {1, 0}, b = {-1, 0};
  const Arc arc = slerp(a, b, 0.25);
  EXPECT_EQ(arc.point, (std::vector<double>{0.5, 0}));
  EXPECT_TRUE(arc.opposite);
  EXPECT_FALSE(arc.angle.has_value());
}

TEST(Soup, OfUnlikeModelsIsRefusedNamingBothAndTheFirstDifference) {
  const Ingredient a = ingredient(1, "a");
  Ingredient b = ingredient(2, "b");
  b.model.spec.rope_theta = 500000;
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("a and b do not fit: rope_theta is 10000"));
  b = ingredient(2, "b");
  b.model.spec.tie_word_embeddings = true;
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("only one ties"));
  b = ingredient(2, "b");
  b.model.tensors.erase("model.norm.weight");
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("only one has tensor 'model.norm.weight'"));
  b = ingredient(2, "b");
  b.model.tensors["model.norm.weight"] = doubles({1, 2});
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("tensor 'model.norm.weight' has shape [8] and [2]"));
  b = ingredient(2, "b");
  b.model.tensors["model.norm.weight"].dtype = DType::kI32;
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("tensor 'model.norm.weight' holds F32 and I32"));
}

TEST(Soup, OfModelsWithAnotherBaseIsRefusedUnlessSomeoneInsists) {
  Ingredient a = ingredient(1, "a"), b = ingredient(2, "b");
  a.base_hash = "one";
  EXPECT_TRUE(make_soup(std::vector{a, b}, {}).ok());  // b's is not known
  b.base_hash = "two";
  EXPECT_THAT(refusal({a, b}, {}), HasSubstr("different base models"));
  EXPECT_TRUE(make_soup(std::vector{a, b}, {.allow_other_base = true}).ok());
}

// Model folders with a character tokenizer each.
class TokenizerFolders : public ::testing::Test {
 protected:
  std::string folder(const std::string& name, const std::string& config, const std::string& jinja = "") {
    const Path path = folder_.path() / name;
    EXPECT_TRUE(make_folders(path).ok());
    EXPECT_TRUE(write_model(path, random_model(tiny_spec(), 1), {}).ok());
    EXPECT_TRUE(write_file_atomic(path / "tokenizer_config.json", config).ok());
    if (!jinja.empty()) {
      EXPECT_TRUE(write_file_atomic(path / "chat_template.jinja", jinja).ok());
    }
    return path.string();
  }
  std::string mix(const std::string& a, const std::string& b) {
    const auto x = load_ingredient(a), y = load_ingredient(b);
    EXPECT_TRUE(x.ok() && y.ok());
    EXPECT_FALSE(x->tokenizer_hash.empty());
    return make_soup(std::vector{*x, *y}, {}).status().message();
  }
  testing::TempFolder folder_;
};

TEST_F(TokenizerFolders, OfOtherTokensOrTemplatesMakeNoSoupAndOtherSpacesInTheFileDo) {
  const std::string a = folder("a", R"({"char_ords": [48, 49, 50]})");
  EXPECT_EQ(mix(a, folder("b", R"({"char_ords":  [48, 49, 50]})")), "");
  EXPECT_THAT(mix(a, folder("c", R"({"char_ords": [48, 49, 51]})")), HasSubstr("is '2' and '3'"));
  EXPECT_THAT(mix(a, folder("d", R"({"char_ords": [48, 49]})")), HasSubstr("the tokenizers' size"));
  EXPECT_THAT(mix(a, folder("e", R"({"char_ords": [48, 49, 50]})", "{{ x }}")),
              HasSubstr("the chat templates differ"));
}

}  // namespace
}  // namespace fulcrum
