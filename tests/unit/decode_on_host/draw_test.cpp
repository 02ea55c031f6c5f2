// The draw of a device against rollout/sampler.cpp, from the same logits and numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "engine/core/rng.h"
#include "engine/kernels/device/cuda_decode_ops.h"
#include "rollout/sampler.h"
#include "tests/support/cuda_on_host.h"

namespace fulcrum {
namespace {

using cuda_on_host::every_schedule;
using cuda_on_host::use_schedule;
using kernels::DeviceRow;
using kernels::DeviceSlot;

struct DrawTest : ::testing::Test {
  ~DrawTest() override { use_schedule({}); }
};

struct Place {
  DeviceRow row{7, 20, 3, 1};
  DeviceSlot slot;
};

DeviceSlot slot_of(const SamplingParams& p, std::vector<double> uniforms) {
  DeviceSlot slot;
  slot.greedy = p.temperature == 0;
  slot.temperature = slot.greedy ? 1.0f : static_cast<float>(p.temperature);
  slot.top_k = static_cast<int32_t>(p.top_k);
  slot.top_p = p.top_p;
  slot.min_p = p.min_p;
  slot.remaining = 100;
  for (int32_t& e : slot.endings) e = -1;
  std::copy(uniforms.begin(), uniforms.end(), slot.uniforms);
  return slot;
}

// One draw for every place, all from logits_row[i] of `logits`.
void draw(const std::vector<float>& logits, int64_t vocabulary, std::vector<Place>& places,
          const std::vector<int32_t>& logits_row) {
  std::vector<DeviceRow> rows;
  std::vector<DeviceSlot> slots;
  for (const Place& p : places) {
    rows.push_back(p.row);
    slots.push_back(p.slot);
  }
  const auto count = static_cast<int64_t>(places.size());
  const auto scratch = static_cast<size_t>(count * (vocabulary / kernels::kSoftmaxBlock + 1));
  std::vector<float> part_max(scratch, NAN);
  std::vector<int32_t> part_id(scratch, -1);
  std::vector<double> sums(scratch, NAN);
  ASSERT_EQ(kernels::cuda::draw_rows(
                {logits.data(), logits_row.empty() ? nullptr : logits_row.data(), nullptr, count, vocabulary,
                 rows.data(), slots.data(), part_max.data(), part_id.data(), sums.data()},
                nullptr),
            0);
  for (size_t i = 0; i < places.size(); ++i) places[i] = {rows[i], slots[i]};
}

std::vector<float> random_logits(int64_t n, uint64_t seed, float scale) {
  Rng rng(seed, Purpose::kTest);
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(rng.normal()) * scale);
  return out;
}

SamplingParams sampling(double temperature, int64_t top_k, double top_p, double min_p) {
  SamplingParams p;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  return p;
}

const SamplingParams kWays[] = {
    sampling(1, 0, 1, 0),        sampling(0, 0, 1, 0),     sampling(0.6, 0, 1, 0),
    sampling(1.7, 0, 1, 0),      sampling(1, 5, 1, 0),     sampling(1, 1, 1, 0),
    sampling(1, 0, 0.9, 0),      sampling(1, 0, 0.3, 0),   sampling(1, 0, 1e-9, 0),
    sampling(1, 0, 1, 0.1),      sampling(1, 0, 1, 1),     sampling(0.8, 20, 0.7, 0),
    sampling(2, 50, 0.95, 0.02), sampling(0, 3, 0.5, 0.5), sampling(1, 0, 0.999999, 0)};

// Every way of drawing, at a row of logits; the CPU's draws beside it.
void expect_the_samplers_draws(const std::vector<float>& logits, const std::string& what) {
  const auto n = static_cast<int64_t>(logits.size());
  Rng rng(3, Purpose::kTest);
  std::vector<Place> places;
  std::vector<double> uniforms;
  for (const SamplingParams& way : kWays) {
    for (const double u : {0.0, rng.uniform(), rng.uniform(), rng.uniform(), 1 - 0x1p-53}) {
      places.push_back({.slot = slot_of(way, {u})});
      uniforms.push_back(u);
    }
  }
  draw(logits, n, places, std::vector<int32_t>(places.size(), 0));
  Sampler sampler;
  for (size_t i = 0; i < places.size(); ++i) {
    const SamplingParams& way = kWays[i / 5];
    const Draw expected = *sampler.draw(logits, way, uniforms[i]);
    const DeviceSlot& slot = places[i].slot;
    const std::string where =
        what + ", way " + std::to_string(i / 5) + ", number " + std::to_string(uniforms[i]);
    ASSERT_EQ(slot.drawn, 1) << where;
    ASSERT_EQ(slot.ids[0], expected.id) << where;
    ASSERT_EQ(slot.logps[0], expected.logp) << where;
    ASSERT_EQ(slot.failed, 0);
  }
}

TEST_F(DrawTest, IsTheSamplersDrawToTheBit) {
  for (const int64_t n : {1, 40, 256, 300, 600, 5000}) {
    for (const float scale : {1.0f, 6.0f})
      expect_the_samplers_draws(random_logits(n, static_cast<uint64_t>(n), scale), "of " + std::to_string(n));
  }
}

TEST_F(DrawTest, IsTheSamplersDrawWhereScoresAreEqual) {
  expect_the_samplers_draws(std::vector<float>(300, 0.5f), "all equal");
  std::vector<float> logits = random_logits(300, 1, 1.0f);
  for (float& l : logits) l = std::nearbyint(l);  // few values, each many times
  expect_the_samplers_draws(logits, "integers");
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = i % 2 == 0 ? 0.0f : -0.0f;
  expect_the_samplers_draws(logits, "zeros of both signs");
}

TEST_F(DrawTest, IsTheSamplersDrawWhereMostTokensCannotBeDrawn) {
  std::vector<float> logits(700, -std::numeric_limits<float>::infinity());
  logits[301] = 2;
  expect_the_samplers_draws(logits, "one token");
  logits[4] = 1;
  logits[690] = -200;
  expect_the_samplers_draws(logits, "two tokens and one without weight");
}

TEST_F(DrawTest, HasTheSameBitsInEveryOrderOfThreads) {
  const std::vector<float> logits = random_logits(600, 5, 2.0f);
  std::vector<std::pair<int32_t, float>> first;
  for (const auto& schedule : every_schedule()) {
    use_schedule(schedule);
    std::vector<Place> places;
    for (const SamplingParams& way : kWays) places.push_back({.slot = slot_of(way, {0.77})});
    draw(logits, 600, places, std::vector<int32_t>(places.size(), 0));
    std::vector<std::pair<int32_t, float>> drawn;
    for (const Place& p : places) drawn.emplace_back(p.slot.ids[0], p.slot.logps[0]);
    if (first.empty()) first = drawn;
    EXPECT_EQ(drawn, first);
  }
}

TEST_F(DrawTest, WritesTheTokenDownAndEndsTheRow) {
  const std::vector<float> logits = random_logits(80, 9, 1.0f);  // two rows of 40
  const SamplingParams greedy = sampling(0, 0, 1, 0);
  Sampler sampler;
  const auto best = [&](size_t row) {
    return sampler.draw(std::span(logits).subspan(row * 40, 40), greedy, 0)->id;
  };
  std::vector<Place> places(5, Place{.slot = slot_of(greedy, {})});
  places[1].slot.endings[kernels::kSlotEndings - 1] = best(1);
  places[2].slot.remaining = 1;
  places[3].row.live = 0;
  places[4].slot.drawn = 2;
  const Place dead = places[3];
  draw(logits, 40, places, {0, 1, 0, 1, 1});
  for (const size_t i : {0, 1, 2, 4}) {
    const Place& p = places[i];
    const int32_t at = i == 4 ? 2 : 0;
    EXPECT_EQ(p.slot.drawn, at + 1);
    EXPECT_EQ(p.slot.ids[at], best(i == 0 || i == 2 ? 0 : 1));
    EXPECT_EQ(p.row.token, p.slot.ids[at]);
    EXPECT_EQ(p.row.position, 21);
    EXPECT_EQ(p.row.table, 3);
    EXPECT_EQ(p.row.live, i == 0 || i == 4);
    EXPECT_EQ(p.slot.remaining, i == 2 ? 0 : 99);
  }
  EXPECT_EQ(places[3].row.position, dead.row.position);
  EXPECT_EQ(places[3].slot.drawn, 0);
}

TEST_F(DrawTest, TakesTheNumberOfTheTokensPlace) {
  const std::vector<float> logits = random_logits(300, 2, 1.0f);
  const SamplingParams plain = sampling(1, 0, 1, 0);
  std::vector<Place> places{{.slot = slot_of(plain, {0.1, 0.9, 0.4})}};
  for (int i = 0; i < 3; ++i) draw(logits, 300, places, {});
  Sampler sampler;
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(places[0].slot.ids[i], sampler.draw(logits, plain, places[0].slot.uniforms[i])->id);
}

TEST_F(DrawTest, FailsWhereLogitsAreNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const SamplingParams& way : {kWays[0], kWays[1], kWays[7]}) {
    for (const auto& [at, value] :
         {std::pair<size_t, float>{0, NAN}, {299, NAN}, {150, infinity}, {SIZE_MAX, -infinity}}) {
      std::vector<float> logits = random_logits(300, 4, 1.0f);
      if (at == SIZE_MAX) logits.assign(300, value);
      if (at != SIZE_MAX) logits[at] = value;
      std::vector<Place> places{{.slot = slot_of(way, {0.5})}};
      draw(logits, 300, places, {});
      EXPECT_EQ(places[0].slot.failed, 1);
      EXPECT_EQ(places[0].slot.drawn, 0);
      EXPECT_EQ(places[0].row.live, 0);
      Sampler sampler;
      EXPECT_FALSE(sampler.draw(logits, way, 0.5)) << "as the CPU says";
    }
  }
}

}  // namespace
}  // namespace fulcrum
