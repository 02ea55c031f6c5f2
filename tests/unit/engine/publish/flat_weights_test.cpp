#include "engine/publish/flat_weights.h"

#include <gtest/gtest.h>

#include "engine/core/half.h"
#include "engine/core/rng.h"

namespace fulcrum {
namespace {

TEST(FlatWeights, AreTheTensorsRoundedSideBySide) {
  WeightSet set;
  set.version = {2, 7};
  Rng rng(1, Purpose::kTest);
  for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
           {"a", {3, 5}}, {"b", {64}}, {"c", {1}}, {"d", {7, 9}}}) {
    std::vector<float> values;
    for (int64_t n = shape[0] * (shape.size() > 1 ? shape[1] : 1); n > 0; --n)
      values.push_back(static_cast<float>(rng.normal()));
    set.tensors[name] = make_tensor(shape, values);
  }
  const auto flat = flatten_to_bf16(set, {.alignment = 64, .multiple = 1024});
  ASSERT_TRUE(flat.ok()) << flat.status().message();
  EXPECT_EQ(flat->values->size() * 2 % 1024, 0u);
  EXPECT_EQ(flat->weights->version, set.version);
  std::vector<bool> covered(flat->values->size());
  for (const auto& [name, tensor] : flat->weights->tensors) {
    EXPECT_EQ(tensor.dtype, DType::kBF16);
    EXPECT_EQ(tensor.shape, set.tensors.at(name).shape);
    const auto* bits = reinterpret_cast<const uint16_t*>(tensor.bytes.data());
    const auto begin = static_cast<size_t>(bits - flat->values->data());
    EXPECT_EQ(begin * 2 % 64, 0u) << name;
    const std::vector<float> wide = to_float(set.tensors.at(name)).value();
    ASSERT_EQ(tensor.bytes.size(), 2 * wide.size());
    for (size_t i = 0; i < wide.size(); ++i) {
      EXPECT_EQ(bits[i], float_to_bf16(wide[i])) << name << " " << i;
      EXPECT_FALSE(covered[begin + i]) << "two tensors in one place";
      covered[begin + i] = true;
    }
  }
  for (size_t i = 0; i < covered.size(); ++i) {
    EXPECT_TRUE(covered[i] || (*flat->values)[i] == 0) << "between tensors stands 0, so that hashes agree";
  }
}

TEST(FlatWeights, NamesATensorThatIsNoFloat) {
  WeightSet set;
  set.tensors["odd"] = make_tensor({2}, std::vector<float>{1, 2});
  set.tensors["odd"].dtype = DType::kI32;
  const Status status = flatten_to_bf16(set, {}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("'odd'"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace fulcrum
