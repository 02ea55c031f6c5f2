#include "engine/publish/flat_weights.h"

#include <gtest/gtest.h>

#include "engine/core/half.h"
#include "engine/core/rng.h"

namespace fulcrum {
namespace {

TensorMap some_tensors() {
  TensorMap out;
  Rng rng(1, Purpose::kTest);
  for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
           {"a", {3, 5}}, {"b", {64}}, {"c", {1}}, {"d", {7, 9}}}) {
    std::vector<float> values;
    for (int64_t n = shape[0] * (shape.size() > 1 ? shape[1] : 1); n > 0; --n)
      values.push_back(static_cast<float>(rng.normal()));
    out[name] = make_tensor(shape, values);
  }
  return out;
}

TEST(FlatWeights, AreTheTensorsRoundedSideBySide) {
  const TensorMap tensors = some_tensors();
  const auto flat = flatten_to_bf16(tensors);
  ASSERT_TRUE(flat.ok()) << flat.status().message();
  EXPECT_EQ(static_cast<int64_t>(flat->values->size()) * 2 % kFlatMultiple, 0);
  EXPECT_EQ(flat->hash, flat_hash(*flat->values));
  EXPECT_FALSE(flat->change.has_value());
  ASSERT_EQ(flat->tensors.size(), tensors.size());
  std::vector<bool> covered(flat->values->size());
  for (const auto& [name, tensor] : flat->tensors) {
    EXPECT_EQ(tensor.dtype, DType::kBF16);
    EXPECT_EQ(tensor.shape, tensors.at(name).shape);
    const auto* bits = reinterpret_cast<const uint16_t*>(tensor.bytes.data());
    const auto begin = static_cast<size_t>(bits - flat->values->data());
    EXPECT_EQ(static_cast<int64_t>(begin) * 2 % kFlatAlignment, 0) << name;
    const std::vector<float> wide = to_float(tensors.at(name)).value();
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

TEST(FlatWeights, StandWhereTheirLayoutSays) {
  const FlatLayout layout = flat_layout({{"a", {3, 5}}, {"b", {64}}, {"c", {0}}, {"d", {7, 9}}});
  EXPECT_EQ(layout.weights, 15 + 64 + 63);
  EXPECT_EQ(layout.size * 2, kFlatMultiple);
  std::vector<int64_t> begins;
  for (const FlatLayout::Place& place : layout.places) begins.push_back(place.begin);
  EXPECT_EQ(begins, (std::vector<int64_t>{0, 32, 96, 96}));
  EXPECT_EQ(flat_layout({}).size, 0);
}

TEST(FlatWeights, HaveTheHashOfTheirPiecesHashes) {
  const FlatWeights flat = flatten_to_bf16(some_tensors()).value();
  FlatValues other = *flat.values;
  for (const size_t at : {size_t{0}, other.size() / 2, other.size() - 1}) {
    other[at] ^= 1;
    EXPECT_NE(flat_hash(other), flat.hash) << at;
    other[at] ^= 1;
  }
  EXPECT_EQ(flat_hash(other), flat.hash);
  EXPECT_NE(flat_hash(std::span(other).first(other.size() - 1)), flat.hash);
}

TEST(FlatWeights, NamesATensorThatIsNoFloat) {
  TensorMap tensors;
  tensors["odd"] = make_tensor({2}, std::vector<float>{1, 2});
  tensors["odd"].dtype = DType::kI32;
  const Status status = flatten_to_bf16(tensors).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("'odd'"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace fulcrum
