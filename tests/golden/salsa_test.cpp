// tests/golden/salsa.json through make_soup, mix_parameters and compare_models.
#include "engine/reference/compare_models.h"
#include "engine/reference/parameters.h"
#include "engine/reference/reference.h"
#include "tests/golden/golden.h"

namespace fulcrum::golden {
namespace {

TensorView vector_tensor(const std::vector<double>& values) {
  const std::vector<float> rounded(values.begin(), values.end());
  return make_tensor({static_cast<int64_t>(values.size())}, rounded);
}

TEST(GoldenSalsa, Soup) {
  const Json file = load("salsa");
  Op op("salsa soup, float32");
  for (const Json& c : cases(file, "soup")) {
    const Json& in = c["inputs"];
    std::vector<Model> models;
    for (const Json& checkpoint : in["checkpoints"]) {
      Model& model = models.emplace_back();
      for (const auto& [name, values] : checkpoint.items())
        model.tensors.emplace(name, vector_tensor(numbers(values)));
    }
    const auto soup = make_soup(models, numbers(in["weights"]));
    ASSERT_TRUE(soup.ok()) << soup.status().message();
    op.ran();
    for (const auto& [name, want] : c["expected"]["soup"].items()) {
      const std::vector<float> got = *to_float(soup->tensors.at(name));
      op.check(std::vector<double>(got.begin(), got.end()), want, Tolerance::float32(),
               c["id"].get<std::string>() + " " + name);
    }
  }
}

class OneTensor final : public Policy {
 public:
  explicit OneTensor(const std::vector<double>& values)
      : parameters_{{"w", at::tensor(values, at::kDouble).to(at::kFloat)}} {}
  const ModelSpec& spec() const override { return spec_; }
  at::Tensor hidden(const TrainBatch& /*batch*/) override { return {}; }
  at::Tensor output_weight() const override { return parameters_[0].second; }
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const override { return parameters_; }
  void parameters_changed() override { ++changes; }

  int changes = 0;

 private:
  ModelSpec spec_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
};

TEST(GoldenSalsa, Ema) {
  const Json file = load("salsa");
  Op op("salsa ema, float32");
  for (const Json& c : cases(file, "ema")) {
    const Json& in = c["inputs"];
    OneTensor reference(numbers(in["ref0"]));
    op.ran();
    for (size_t t = 1; t <= in["policy"].size(); ++t) {
      const OneTensor policy(numbers(in["policy"][t - 1]));
      if (static_cast<int64_t>(t) % in["every"].get<int64_t>() == 0) {
        ASSERT_TRUE(mix_parameters(reference, policy, in["mu"].get<double>()).ok());
      }
      op.check(to_vector(reference.output_weight()), c["expected"]["ref"][t - 1], Tolerance::float32(),
               c["id"]);
    }
    EXPECT_EQ(reference.changes, static_cast<int>(in["policy"].size()) / in["every"].get<int>());
  }
}

DType dtype_of(const std::string& name) {
  const std::map<std::string, DType> names = {{"float16", DType::kF16}, {"bfloat16", DType::kBF16},
                                              {"float32", DType::kF32}, {"float64", DType::kF64},
                                              {"int64", DType::kI64},   {"int32", DType::kI32}};
  return names.at(name);
}

TEST(GoldenSalsa, Compat) {
  const Json file = load("salsa");
  Op op("salsa compat");
  const std::map<Mismatch, std::string> ids = {{Mismatch::kNone, "ok"},
                                               {Mismatch::kArchitecture, "architecture_mismatch"},
                                               {Mismatch::kKeys, "key_mismatch"},
                                               {Mismatch::kShape, "shape_mismatch"},
                                               {Mismatch::kDtypeClass, "dtype_class_mismatch"},
                                               {Mismatch::kTying, "tying_mismatch"}};
  for (const Json& c : cases(file, "compat")) {
    const Json& e = c["expected"];
    if (e["result"] == "tokenizer_mismatch" || e["result"] == "warn_different_base") {
      op.skip("tokenizers are compared by their files; base hashes are not kept");
      continue;
    }
    const auto model_of = [](const Json& in) {
      Model model;
      model.spec.model_type = in["architecture"];
      model.spec.tie_word_embeddings = in.value("tied", false);
      for (const auto& [name, t] : in["tensors"].items()) {
        model.tensors[name] = {.dtype = dtype_of(t["dtype"]),
                               .shape = t["shape"].get<std::vector<int64_t>>()};
      }
      return model;
    };
    const Comparison got = compare_models(model_of(c["inputs"]["a"]), model_of(c["inputs"]["b"]));
    op.ran();
    EXPECT_EQ(ids.at(got.kind), e["result"].get<std::string>()) << c["id"];
    if (e.contains("detail")) {
      EXPECT_EQ(got.names, e["detail"].get<std::vector<std::string>>()) << c["id"];
    }
  }
}

}  // namespace
}  // namespace fulcrum::golden
