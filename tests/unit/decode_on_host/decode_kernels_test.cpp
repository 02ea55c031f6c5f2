// The kernels of a decode step against those of the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/core/half.h"
#include "engine/core/rng.h"
#include "engine/kernels/attention/op.h"
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/rope/op.h"
#include "tests/support/cuda_on_host.h"

namespace fulcrum::kernels {
namespace {

using cuda_on_host::every_schedule;
using cuda_on_host::use_schedule;

struct DecodeKernelsTest : ::testing::Test {
  ~DecodeKernelsTest() override { use_schedule({}); }
};

std::vector<float> random_floats(int64_t n, uint64_t seed, float scale = 1.0f) {
  Rng rng(seed, Purpose::kTest);
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(rng.normal()) * scale);
  return out;
}

// Numbers as they lie in the memory of `type`; `values` become what they are rounded to.
struct Numbers {
  Numbers(std::vector<float> v, ActivationType type)
      : values(std::move(v)), fp32(type == ActivationType::kF32) {
    for (float& x : values) {
      bits.push_back(float_to_bf16(x));
      if (!fp32) x = bf16_to_float(bits.back());
    }
  }
  const void* data() const { return fp32 ? static_cast<const void*>(values.data()) : bits.data(); }
  void* data() { return fp32 ? static_cast<void*>(values.data()) : bits.data(); }
  float at(size_t i) const { return fp32 ? values[i] : bf16_to_float(bits[i]); }

  std::vector<float> values;
  bool fp32;
  std::vector<uint16_t> bits;
};

constexpr ActivationType kTypes[] = {ActivationType::kF32, ActivationType::kBf16};

TEST_F(DecodeKernelsTest, ProductsAreThoseOfDoublesAndARowsDoNotHangOnTheOthers) {
  for (const ActivationType type : kTypes) {
    for (const auto& [inputs, outputs] :
         {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {8, 17}, {260, 16}, {264, 35}}) {
      const int64_t most = 35;
      const Numbers x(random_floats(most * inputs, 1), type), w(random_floats(outputs * inputs, 2), type);
      std::vector<float> all;
      for (const int64_t rows : {35, 1, 2, 3, 4, 5, 8, 9, 16, 17}) {
        for (const bool add : {false, true}) {
          std::vector<float> y(static_cast<size_t>(rows * outputs), add ? 0.5f : NAN);
          ASSERT_EQ(cuda::product_rows({.x = x.data(),
                                        .weights = w.data(),
                                        .type = type,
                                        .rows = rows,
                                        .inputs = inputs,
                                        .outputs = outputs,
                                        .y = y.data(),
                                        .add = add},
                                       nullptr),
                    0);
          if (all.empty()) all = y;
          for (size_t i = 0; i < y.size(); ++i)
            ASSERT_EQ(y[i], add ? 0.5f + all[i] : all[i]) << rows << " rows";
        }
      }
      for (int64_t r = 0; r < most; ++r) {
        for (int64_t o = 0; o < outputs; ++o) {
          double sum = 0, size = 0;
          for (int64_t i = 0; i < inputs; ++i) {
            const double term = double{x.values[static_cast<size_t>(r * inputs + i)]} *
                                w.values[static_cast<size_t>(o * inputs + i)];
            sum += term;
            size += std::abs(term);
          }
          ASSERT_NEAR(all[static_cast<size_t>(r * outputs + o)], sum, 1e-6 * size);
        }
      }
    }
  }
}

// Of more inputs than the warps take at once, a part of a chunk behind them, and of more rows than a tile
// has.
TEST_F(DecodeKernelsTest, ProductsOfTensorCoresHaveTheSameBitsInTilesOfEverySize) {
  const int64_t inputs = 1224, outputs = 70, most = 150;
  const Numbers x(random_floats(most * inputs, 1), ActivationType::kBf16),
      w(random_floats(outputs * inputs, 2), ActivationType::kBf16);
  const auto product = [&](int64_t first, int64_t rows) {
    std::vector<float> y(static_cast<size_t>(rows * outputs), NAN);
    EXPECT_EQ(cuda::product_rows({.x = static_cast<const uint16_t*>(x.data()) + first * inputs,
                                  .weights = w.data(),
                                  .type = ActivationType::kBf16,
                                  .rows = rows,
                                  .inputs = inputs,
                                  .outputs = outputs,
                                  .y = y.data()},
                                 nullptr),
              0);
    return y;
  };
  const std::vector<float> all = product(0, most);
  for (const auto& [first, rows] :
       {std::pair<int64_t, int64_t>{149, 1}, {5, 8}, {90, 16}, {118, 32}, {70, 80}}) {
    const std::vector<float> some = product(first, rows);
    for (size_t i = 0; i < some.size(); ++i)
      ASSERT_EQ(some[i], all[static_cast<size_t>(first * outputs) + i]) << rows << " rows";
  }
  for (const int64_t r : {0, 77, 149}) {
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < inputs; ++i)
        sum += double{x.values[static_cast<size_t>(r * inputs + i)]} *
               w.values[static_cast<size_t>(o * inputs + i)];
      ASSERT_NEAR(all[static_cast<size_t>(r * outputs + o)], sum, 1e-4);
    }
  }
}

TEST_F(DecodeKernelsTest, EmbedsTheRowsThatAreLive) {
  for (const ActivationType type : kTypes) {
    const Numbers table(random_floats(7 * 300, 3), type);
    const std::vector<DeviceRow> rows{{3, 0, 0, 1}, {5, 0, 0, 0}, {6, 0, 0, 1}};
    std::vector<float> hidden(900, -1.0f);
    ASSERT_EQ(cuda::embed_rows({rows.data(), 3, 300, table.data(), type, hidden.data()}, nullptr), 0);
    for (size_t i = 0; i < 300; ++i) {
      ASSERT_EQ(hidden[i], table.at(3 * 300 + i));
      ASSERT_EQ(hidden[300 + i], -1.0f);
      ASSERT_EQ(hidden[600 + i], table.at(6 * 300 + i));
    }
  }
}

// A cache of one layer of interest among three, whose sequences lie in pages of no order.
struct Cache {
  static constexpr int64_t kLayers = 3, kLayer = 1, kPages = 90;

  Cache(const AttentionShape& s, ActivationType type)
      : shape(s), numbers(std::vector<float>(static_cast<size_t>(kPages * elements()), NAN), type) {
    paged.pages = numbers.data();
    paged.type = type;
    paged.kv_heads = s.kv_heads;
    paged.head_dim = s.head_dim;
    paged.head_stride = round_up(s.head_dim, 8);
    paged.layer_elements = 2 * s.kv_heads * kPagePositions * paged.head_stride;
    paged.page_elements = kLayers * paged.layer_elements;
    paged.table_stride = kPages / 2;
    for (int32_t i = 0; i < kPages; ++i) tables.push_back(i * 7 % static_cast<int32_t>(kPages));
    paged.tables = tables.data();
  }
  int64_t elements() const {
    return kLayers * 2 * shape.kv_heads * kPagePositions * round_up(shape.head_dim, 8);
  }

  size_t place(int64_t table, int64_t position, int64_t kv_head, int64_t i, bool value) const {
    const int64_t page = tables[static_cast<size_t>(table * paged.table_stride + position / kPagePositions)];
    return static_cast<size_t>(
        page * paged.page_elements + kLayer * paged.layer_elements +
        (((value ? shape.kv_heads : 0) + kv_head) * kPagePositions + position % kPagePositions) *
            paged.head_stride +
        i);
  }
  float key(int64_t table, int64_t position, int64_t kv_head, int64_t i) const {
    return numbers.at(place(table, position, kv_head, i, false));
  }
  float value(int64_t table, int64_t position, int64_t kv_head, int64_t i) const {
    return numbers.at(place(table, position, kv_head, i, true));
  }

  AttentionShape shape;
  Numbers numbers;
  std::vector<int32_t> tables;
  PagedCache paged;
};

AttentionShape shape_of(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return {heads, kv_heads, head_dim, static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)))};
}

TEST_F(DecodeKernelsTest, RotatesAsTheCpuDoesAndPutsKeysAndValuesIntoTheirPages) {
  const AttentionShape shape = shape_of(6, 2, 10);
  const int64_t width = 10 * 10;
  const std::vector<float> cosines = random_floats(60 * 5, 1), sines = random_floats(60 * 5, 2),
                           bias = random_floats(width, 3), before = random_floats(3 * width, 4);
  const std::vector<DeviceRow> rows{{0, 0, 0, 1}, {0, 55, 1, 1}, {0, 9, 0, 0}};
  for (const ActivationType type : kTypes) {
    for (const bool biased : {false, true}) {
      Cache cache(shape, type);
      const std::vector<uint16_t> bits_before = cache.numbers.bits;
      std::vector<float> qkv = before;
      ASSERT_EQ(cuda::rope_and_store({rows.data(), 3, qkv.data(), biased ? bias.data() : nullptr, 6,
                                      Cache::kLayer, cosines.data(), sines.data(), cache.paged},
                                     nullptr),
                0);
      size_t written = 0;
      for (size_t i = 0; i < cache.numbers.values.size(); ++i) written += !std::isnan(cache.numbers.at(i));
      EXPECT_EQ(written, 2u * 4 * 16) << "of two rows, keys and values of two heads, filled up to sixteen";
      for (size_t r = 0; r < 3; ++r) {
        std::vector<float> expected(before.begin() + static_cast<int64_t>(r) * width,
                                    before.begin() + static_cast<int64_t>(r + 1) * width);
        if (!rows[r].live) {
          for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(qkv[r * width + i], expected[i]);
          continue;
        }
        for (size_t i = 0; biased && i < expected.size(); ++i) expected[i] += bias[i];
        const int64_t position = rows[r].position, table = rows[r].table;
        rope_row(expected.data(), 8, 10, cosines.data() + position * 5, sines.data() + position * 5);
        for (size_t i = 0; i < 60; ++i) ASSERT_EQ(qkv[r * width + i], expected[i]);
        for (int64_t h = 0; h < 2; ++h) {
          for (int64_t i = 0; i < 16; ++i) {
            const auto at = static_cast<size_t>(60 + h * 10 + i);
            const float key = i < 10 ? expected[at] : 0.0f, value = i < 10 ? expected[at + 20] : 0.0f;
            ASSERT_EQ(cache.key(table, position, h, i), Numbers({key}, type).at(0));
            ASSERT_EQ(cache.value(table, position, h, i), Numbers({value}, type).at(0));
          }
        }
      }
    }
  }
}

struct Attention {
  Attention(const AttentionShape& shape, ActivationType type, const std::vector<int32_t>& positions)
      : cache(shape, type),
        qkv(random_floats(static_cast<int64_t>(positions.size()) * width(shape), 5, 2.0f)) {
    Rng rng(6, Purpose::kTest);
    for (const int32_t p : positions) rows.push_back({0, p, static_cast<int32_t>(rows.size() % 2), 1});
    const int64_t longest = *std::max_element(positions.begin(), positions.end()) + 1;
    for (int64_t table = 0; table < 2; ++table) {
      for (int64_t p = 0; p < longest; ++p) {
        for (int64_t h = 0; h < shape.kv_heads; ++h) {
          for (int64_t i = 0; i < cache.paged.head_stride; ++i) {
            for (const bool value : {false, true}) {
              const float x = i < shape.head_dim ? static_cast<float>(rng.normal()) : 0.0f;
              const size_t at = cache.place(table, p, h, i, value);
              cache.numbers.bits[at] = float_to_bf16(x);
              cache.numbers.values[at] = x;
            }
          }
        }
      }
    }
  }
  static int64_t width(const AttentionShape& s) { return (s.heads + 2 * s.kv_heads) * s.head_dim; }

  std::vector<float> run(int64_t tiles, ActivationType out = ActivationType::kF32) {
    const auto count = static_cast<int64_t>(rows.size());
    const AttentionShape& s = cache.shape;
    Numbers mixed(std::vector<float>(static_cast<size_t>(count * s.heads * s.head_dim), -7.0f), out);
    std::vector<float> parts(
        static_cast<size_t>(count * s.heads * std::max<int64_t>(tiles, 1) * (cache.paged.head_stride + 2)),
        NAN);
    EXPECT_EQ(cuda::attend_rows({rows.data(), count, qkv.data(), s.heads, Cache::kLayer, s.scale, cache.paged,
                                 tiles, parts.data(), mixed.data(), out},
                                nullptr),
              0);
    std::vector<float> values;
    for (size_t i = 0; i < mixed.values.size(); ++i) values.push_back(mixed.at(i));
    return values;
  }

  // The softmax in double.
  std::vector<double> expected(size_t row) const {
    const AttentionShape& s = cache.shape;
    std::vector<double> out;
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t kv = h / (s.heads / s.kv_heads);
      const float* query = qkv.data() + static_cast<int64_t>(row) * width(s) + h * s.head_dim;
      std::vector<double> sums(static_cast<size_t>(s.head_dim));
      double total = 0;
      for (int64_t p = 0; p <= rows[row].position; ++p) {
        double score = 0;
        for (int64_t i = 0; i < s.head_dim; ++i)
          score += double{query[i]} * cache.key(rows[row].table, p, kv, i);
        const double weight = std::exp(score * s.scale);
        total += weight;
        for (int64_t i = 0; i < s.head_dim; ++i)
          sums[static_cast<size_t>(i)] += weight * cache.value(rows[row].table, p, kv, i);
      }
      for (const double sum : sums) out.push_back(sum / total);
    }
    return out;
  }

  Cache cache;
  std::vector<float> qkv;
  std::vector<DeviceRow> rows;
};

// Positions on both sides of a page's and a tile's border. What lies behind a row's position is NaN for the
// longest, and other numbers for the rest.
TEST_F(DecodeKernelsTest, AttendsAsTheFormulaSays) {
  for (const AttentionShape& shape : {shape_of(6, 2, 10), shape_of(3, 3, 24), shape_of(10, 1, 72)}) {
    for (const ActivationType type : kTypes) {
      Attention a(shape, type, {0, 15, 16, 255, 256, 300, 530});
      const std::vector<float> actual = a.run(0);
      for (size_t r = 0; r < a.rows.size(); ++r) {
        const std::vector<double> expected = a.expected(r);
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_NEAR(actual[r * expected.size() + i], expected[i], 5e-6) << "row " << r << " number " << i;
      }
    }
  }
}

TEST_F(DecodeKernelsTest, AttendsWithTheSameBitsWhenTilesRunSideBySide) {
  Attention a(shape_of(6, 2, 10), ActivationType::kF32, {0, 255, 256, 530});
  const std::vector<float> walked = a.run(0);
  for (const int64_t tiles : {3, 5}) EXPECT_EQ(a.run(tiles), walked);
  a.rows.resize(2);
  EXPECT_EQ(a.run(1), std::vector<float>(walked.begin(), walked.begin() + 2 * 60));
  Attention rounded(shape_of(6, 2, 10), ActivationType::kBf16, {300});
  const std::vector<float> bf16 = rounded.run(2, ActivationType::kBf16), fp32 = rounded.run(2);
  for (size_t i = 0; i < bf16.size(); ++i) EXPECT_EQ(bf16[i], bf16_to_float(float_to_bf16(fp32[i])));
}

TEST_F(DecodeKernelsTest, PassesOverRowsThatAreNotLive) {
  Attention a(shape_of(6, 2, 10), ActivationType::kF32, {20, 20, 270});
  const std::vector<float> all = a.run(2);
  a.rows[1] = {-1, -1, -1, 0};
  for (const int64_t tiles : {0, 2}) {
    const std::vector<float> some = a.run(tiles);
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(some[i], i / 60 == 1 ? -7.0f : all[i]);
  }
}

TEST_F(DecodeKernelsTest, HaveTheSameBitsInEveryOrderOfThreads) {
  std::set<std::vector<float>> attended, products, rotated;
  for (const auto& schedule : every_schedule()) {
    use_schedule(schedule);
    Attention a(shape_of(10, 2, 24), ActivationType::kF32, {3, 40, 300});
    attended.insert(a.run(2));
    attended.insert(a.run(0));
    const std::vector<float> x = random_floats(20 * 264, 1), w = random_floats(30 * 264, 2);
    std::vector<float> y(600, 1.0f);
    ASSERT_EQ(cuda::product_rows({.x = x.data(),
                                  .weights = w.data(),
                                  .rows = 20,
                                  .inputs = 264,
                                  .outputs = 30,
                                  .y = y.data(),
                                  .add = true},
                                 nullptr),
              0);
    products.insert(y);
    Cache cache(shape_of(6, 2, 10), ActivationType::kF32);
    std::vector<float> qkv = random_floats(100, 4);
    const std::vector<float> angles = random_floats(100, 5);
    ASSERT_EQ(cuda::rope_and_store(
                  {a.rows.data(), 1, qkv.data(), nullptr, 6, 1, angles.data(), angles.data(), cache.paged},
                  nullptr),
              0);
    for (float& v : cache.numbers.values) v = std::isnan(v) ? 0 : v;
    qkv.insert(qkv.end(), cache.numbers.values.begin(), cache.numbers.values.end());
    rotated.insert(qkv);
  }
  EXPECT_EQ(attended.size(), 1u);
  EXPECT_EQ(products.size(), 1u);
  EXPECT_EQ(rotated.size(), 1u);
}

}  // namespace
}  // namespace fulcrum::kernels
