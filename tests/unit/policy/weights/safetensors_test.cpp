#include "policy/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "engine/core/half.h"
#include "engine/core/rng.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using testing::TempFolder;

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + header + data;
}

Result<Safetensors> parse(const std::string& file) {
  // A copy of the exact size on the heap, so that a sanitizer sees any read past the end.
  auto owned = std::make_shared<const std::vector<char>>(file.begin(), file.end());
  return parse_safetensors(std::as_bytes(std::span(*owned)), owned);
}

TensorMap small_map() {
  TensorMap out;
  out["b"] = make_tensor({2, 3}, std::array{1.f, 2.f, 3.f, 4.f, 5.f, 6.f});
  out["a"] = make_tensor({1}, std::array{-0.5f});
  out["empty"] = make_tensor({0, 4}, {});
  out["scalar"] = make_tensor({}, std::array{7.f});
  static constexpr std::array<uint16_t, 2> kHalves{0x3F80, 0x4000};
  out["0half"] = {DType::kBF16, {2}, std::as_bytes(std::span(kHalves)), nullptr};
  return out;
}

TEST(Half, EveryFp16PatternHasItsIeeeValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint32_t exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float got = fp16_to_float(static_cast<uint16_t>(bits));
    EXPECT_EQ(std::signbit(got), (bits & 0x8000) != 0) << bits;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(got), mantissa != 0) << bits;
      EXPECT_EQ(std::isinf(got), mantissa == 0) << bits;
    } else {
      const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
      EXPECT_EQ(std::fabs(got), magnitude) << bits;
    }
  }
}

TEST(Half, Bf16RoundsToNearestTiesToEven) {
  const auto round = [](uint32_t bits) { return float_to_bf16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(round(0x3F808000), 0x3F80);  // tie, even below
  EXPECT_EQ(round(0x3F818000), 0x3F82);  // tie, even above
  EXPECT_EQ(round(0x3F808001), 0x3F81);
  EXPECT_EQ(round(0x3F807FFF), 0x3F80);
  EXPECT_EQ(round(0x7F7FFFFF), 0x7F80);  // the largest finite value overflows to infinity
  EXPECT_EQ(round(0xFF800000), 0xFF80);
  EXPECT_EQ(round(0x00000001), 0x0000);  // the smallest subnormal
  EXPECT_EQ(round(0x80018000), 0x8002);
  EXPECT_EQ(round(0x7F800001), 0x7FC0);  // a signalling NaN stays a NaN
}

TEST(Half, EveryBf16PatternSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value)))) << bits;
    } else {
      EXPECT_EQ(float_to_bf16(value), bits);
    }
  }
}

TEST(Half, EveryFp16PatternSurvivesARoundTripAndMidpointsGoToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x8000; ++bits) {
    const auto pattern = static_cast<uint16_t>(bits);
    const float value = fp16_to_float(pattern);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(fp16_to_float(float_to_fp16(value)))) << bits;
      continue;
    }
    EXPECT_EQ(float_to_fp16(value), pattern);
    EXPECT_EQ(float_to_fp16(-value), pattern | 0x8000);
    if (bits >= 0x7BFF) continue;  // the next one is infinity
    const float next = fp16_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (value + next) / 2;  // exact in fp32
    EXPECT_EQ(float_to_fp16(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    EXPECT_EQ(float_to_fp16(std::nextafter(middle, next)), bits + 1) << bits;
    EXPECT_EQ(float_to_fp16(std::nextafter(middle, value)), bits) << bits;
  }
  EXPECT_EQ(float_to_fp16(65519.996F), 0x7BFF);
  EXPECT_EQ(float_to_fp16(65520), 0x7C00);
  EXPECT_EQ(float_to_fp16(-1e30F), 0xFC00);
}

TEST(Tensor, OfAnyFloatingTypeIsRoundedOnceAndNeverToInfinity) {
  const std::vector<double> values = {0.1, -3, 1e-30};
  EXPECT_EQ(*to_double(*make_tensor({3}, values, DType::kF64)), values);
  EXPECT_EQ((*to_double(*make_tensor({3}, values, DType::kF32)))[0], double(0.1F));
  EXPECT_EQ((*to_double(*make_tensor({3}, values, DType::kBF16)))[0], 0.10009765625);
  EXPECT_EQ((*to_double(*make_tensor({3}, values, DType::kF16)))[2], 0.0);
  const std::vector<double> large = {1e39};
  EXPECT_EQ(make_tensor({1}, large, DType::kF32).status().code(), Code::kOutOfRange);
  EXPECT_EQ(make_tensor({1}, large, DType::kBF16).status().code(), Code::kOutOfRange);
  EXPECT_FALSE(make_tensor({1}, large, DType::kI32).ok());
}

TEST(Tensor, ToFloatReadsEveryFloatingTypeFromAnyByte) {
  std::array<std::byte, 9> storage{};
  const double value = -2.5;
  std::memcpy(storage.data() + 1, &value, 8);
  const TensorView odd{DType::kF64, {1}, std::span(storage).subspan(1), nullptr};
  EXPECT_EQ(*to_float(odd), std::vector<float>{-2.5f});
  EXPECT_EQ(*to_float(small_map()["0half"]), (std::vector<float>{1, 2}));
  EXPECT_EQ(to_float({DType::kI32, {1}, std::span(storage).first(4), nullptr}).status().code(),
            Code::kInvalidArgument);
}

TEST(ContentHash, SeesNameTypeShapeAndValues) {
  const TensorMap map = small_map();
  const std::string hash = content_hash(map);
  EXPECT_EQ(hash, content_hash(small_map()));
  const std::vector<std::function<void(TensorMap&)>> changes = {
      [](TensorMap& m) {
        m["c"] = m["b"];
        m.erase("b");
      },
      [](TensorMap& m) {
        m["b"].shape = {3, 2};
      },
      [](TensorMap& m) { m["b"].dtype = DType::kI32; },
      [](TensorMap& m) { m["a"] = make_tensor({1}, std::array{0.5f}); },
      [](TensorMap& m) { m.erase("empty"); }};
  for (const auto& change : changes) {
    TensorMap other = map;
    change(other);
    EXPECT_NE(content_hash(other), hash);
  }
}

TEST(Safetensors, WhatIsWrittenIsReadBackAndWritesTheSameBytes) {
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "a", small_map(), {{"format", "pt"}}).ok());
  const auto read = read_safetensors(folder.path() / "a");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->metadata.at("format"), "pt");
  EXPECT_EQ(content_hash(read->tensors), content_hash(small_map()));
  ASSERT_TRUE(write_safetensors(folder.path() / "b", read->tensors, read->metadata).ok());
  EXPECT_EQ(*read_file(folder.path() / "a"), *read_file(folder.path() / "b"));
}

TEST(Safetensors, TensorsAreAlignedToTheirElements) {
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "a", small_map()).ok());
  const auto read = read_safetensors(folder.path() / "a");
  ASSERT_TRUE(read.ok());
  for (const auto& [name, tensor] : read->tensors) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % dtype_size(tensor.dtype), 0u) << name;
  }
}

TEST(Safetensors, ViewsOutliveTheReader) {
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "a", small_map()).ok());
  const TensorView view = read_safetensors(folder.path() / "a")->tensors.at("b");
  EXPECT_EQ((*to_float(view))[5], 6.f);
}

TEST(Safetensors, AFileCutAnywhereIsAnError) {
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "a", small_map(), {{"format", "pt"}}).ok());
  const std::string whole = *read_file(folder.path() / "a");
  ASSERT_TRUE(parse(whole).ok());
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse(whole.substr(0, n)).ok()) << n;
  EXPECT_FALSE(parse(whole + "x").ok());
}

TEST(Safetensors, HostileHeadersAreRefusedWithTheReason) {
  const std::string data(8, '\0');
  const auto error = [&](const std::string& header) {
    return parse(file_of(header, data)).status().message();
  };
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(error(entry("F32", "[2]", "[0,8]")), "");
  EXPECT_THAT(error(entry("F32", "[2]", "[0,9]")), ::testing::HasSubstr("outside the file"));
  EXPECT_THAT(error(entry("F32", "[2]", "[8,0]")), ::testing::HasSubstr("outside the file"));
  EXPECT_THAT(error(entry("F32", "[2]", "[4,8]")), ::testing::HasSubstr("span 4 bytes but 'shape' needs 8"));
  EXPECT_THAT(error(entry("F32", "[1]", "[4,8]")), ::testing::HasSubstr("overlap or leave a hole"));
  EXPECT_THAT(error(entry("F32", "[1]", "[0,4]")), ::testing::HasSubstr("belong to none"));
  EXPECT_THAT(error(entry("F32", "[-2]", "[0,8]")), ::testing::HasSubstr("not a size"));
  EXPECT_THAT(error(entry("F32", "[2.0]", "[0,8]")), ::testing::HasSubstr("not a size"));
  EXPECT_THAT(error(entry("F32", "[4294967296,4294967296,2]", "[0,8]")),
              ::testing::HasSubstr("larger than any file"));
  EXPECT_THAT(error(entry("F32", "[4611686018427387906]", "[0,8]")),
              ::testing::HasSubstr("larger than any file"));
  EXPECT_THAT(error(entry("F32", "[2]", "[0,18446744073709551616]")),
              ::testing::HasSubstr("pair of offsets"));
  EXPECT_THAT(error(entry("F4", "[2]", "[0,8]")),
              ::testing::HasSubstr("tensor 'a': unsupported tensor type 'F4'"));
  EXPECT_THAT(error(R"({"a":[]})"), ::testing::HasSubstr("not an object"));
  EXPECT_THAT(error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})"),
              ::testing::HasSubstr("exactly"));
  EXPECT_THAT(error(R"({"__metadata__":{"a":1}})"), ::testing::HasSubstr("not a string"));
  EXPECT_THAT(error("[1]"), ::testing::HasSubstr("not a JSON object"));
  EXPECT_THAT(error(std::string(70, '{')), ::testing::HasSubstr("header"));
  EXPECT_THAT(
      error(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
      ::testing::HasSubstr("overlap"));
}

TEST(Safetensors, AHugeHeaderLengthIsRefusedBeforeAnythingIsRead) {
  std::string file = file_of("{}", "");
  for (const uint64_t length :
       {kMaxSafetensorsHeader + 1, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::memcpy(file.data(), &length, 8);
    EXPECT_FALSE(parse(file).ok()) << length;
  }
}

// Whatever happens to the bytes, the answer is an error or views that lie inside the file.
TEST(Safetensors, MutatedFilesNeverYieldViewsOutsideTheFile) {
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "a", small_map(), {{"format", "pt"}}).ok());
  const std::string whole = *read_file(folder.path() / "a");
  const auto check = [](const std::string& file) {
    auto owned = std::make_shared<const std::vector<char>>(file.begin(), file.end());
    const auto bytes = std::as_bytes(std::span(*owned));
    const auto read = parse_safetensors(bytes, owned);
    if (!read.ok()) return false;
    for (const auto& [name, tensor] : read->tensors) {
      EXPECT_EQ(tensor.bytes.size(), static_cast<size_t>(tensor.numel()) * dtype_size(tensor.dtype));
      if (!tensor.bytes.empty()) {
        EXPECT_GE(tensor.bytes.data(), bytes.data());
        EXPECT_LE(tensor.bytes.data() + tensor.bytes.size(), bytes.data() + bytes.size());
      }
    }
    return true;
  };
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string file = whole;
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    check(file);
  }
  int accepted = 0;
  Rng rng(11, Purpose::kTest);
  constexpr std::string_view kTokens = "0123456789[]{},:\"-.eE ntf\\\x01\xff";
  for (int round = 0; round < 20000; ++round) {
    std::string file = whole;
    for (uint64_t edits = 1 + rng.below(4); edits > 0; --edits) {
      const size_t at = rng.below(file.size());
      switch (rng.below(4)) {
        case 0:
          file[at] = kTokens[rng.below(kTokens.size())];
          break;
        case 1:
          file.insert(at, 1, kTokens[rng.below(kTokens.size())]);
          break;
        case 2:
          file.erase(at, 1 + rng.below(8));
          break;
        case 3:
          file.insert(at, file.substr(rng.below(file.size()), rng.below(40)));
          break;
      }
      if (file.empty()) break;
    }
    accepted += check(file) ? 1 : 0;
  }
  EXPECT_LT(accepted, 10000);  // most mutations must be noticed; those inside the values cannot be
}

TEST(Safetensors, AMissingFileIsNotFound) {
  EXPECT_EQ(read_safetensors("/nowhere/x.safetensors").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace fulcrum
