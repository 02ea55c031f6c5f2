// The draw of a decode step beside rollout/sampler.h, from the same logits and numbers, and what it writes
// down.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/gpu/decode_call.h"
#include "bench/gpu/groups.h"
#include "rollout/sampler.h"

namespace fulcrum::gpu_check {
namespace {

using kernels::DeviceRow;
using kernels::DeviceSlot;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingParams sampling(double temperature, int64_t top_k = 0, double top_p = 1, double min_p = 0) {
  SamplingParams p;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  return p;
}

const std::vector<SamplingParams>& ways() {
  static const std::vector<SamplingParams> all = {
      sampling(1),           sampling(0),           sampling(0.6),          sampling(1.7),
      sampling(1, 5),        sampling(1, 1),        sampling(1, 0, 0.9),    sampling(1, 0, 1e-9),
      sampling(1, 0, 1, 1),  sampling(1, 0, 1, .1), sampling(0.8, 20, 0.7), sampling(2, 50, 0.95, 0.02),
      sampling(0, 3, .5, .5)};
  return all;
}
const std::vector<double> kUniforms = {0, 0.37, 0.92, 1 - 0x1p-53};

struct Place {
  DeviceRow row{7, 20, 3, 1};
  DeviceSlot slot;
};

Place place_of(const SamplingParams& p, double uniform) {
  Place out;
  out.slot.greedy = p.temperature == 0 ? 1 : 0;
  out.slot.temperature = p.temperature == 0 ? 1.0F : static_cast<float>(p.temperature);
  out.slot.top_k = static_cast<int32_t>(p.top_k);
  out.slot.top_p = p.top_p;
  out.slot.min_p = p.min_p;
  out.slot.remaining = 100;
  std::ranges::fill(out.slot.endings, -1);
  std::ranges::fill(out.slot.uniforms, uniform);
  return out;
}

// One draw for every place, place i's from row logits_row[i] of `logits`.
std::vector<Place> draw(const DecodeCall& call, const at::Tensor& logits, int64_t vocabulary,
                        const std::vector<Place>& places, const std::vector<int32_t>& logits_row) {
  std::vector<DeviceRow> rows;
  std::vector<DeviceSlot> slots;
  for (const Place& p : places) {
    rows.push_back(p.row);
    slots.push_back(p.slot);
  }
  const auto count = std::ssize(places);
  const auto pieces = [&](int64_t of) { return count * ((vocabulary + of - 1) / of); };
  const Guarded far_logits(logits, call.device, 0);
  const GuardedValues<int32_t> of_row(logits_row, call.device);
  const GuardedValues<DeviceRow> far_rows(rows, call.device);
  const GuardedValues<DeviceSlot> far_slots(slots, call.device);
  const Guarded part_max(at::full({pieces(kernels::kDrawPart)}, NAN), call.device, 0);
  const Guarded part_id(at::full({pieces(kernels::kDrawPart)}, -1, at::kInt), call.device, 0);
  const Guarded sums(at::full({pieces(kernels::kSoftmaxBlock)}, NAN, at::kDouble), call.device, 0);
  call.require(call.table.draw(
      {far_logits.data<float>(), of_row.data(), nullptr, count, vocabulary, far_rows.data(), far_slots.data(),
       part_max.data<float>(), part_id.data<int32_t>(), sums.data<double>()},
      call.stream));
  for (const Guarded* scratch : {&part_max, &part_id, &sums}) scratch->values();  // looks at its guards
  rows = far_rows.values(), slots = far_slots.values();
  std::vector<Place> out;
  for (size_t i = 0; i < places.size(); ++i) out.push_back({rows[i], slots[i]});
  return out;
}

struct Logits {
  std::string name;
  at::Tensor values;
};

std::vector<Logits> all_logits(const CheckOptions& options) {
  std::vector<int64_t> sizes = {1, 40, 256, 300, 5000};
  if (!options.small) sizes.insert(sizes.end(), {49152, 151936});
  std::vector<Logits> out;
  for (const int64_t n : sizes) {
    for (const double scale : {1.0, 6.0})
      out.push_back({"of " + std::to_string(n), numbers(n, static_cast<uint64_t>(n), scale)});
  }
  out.push_back({"all equal", at::full({300}, 0.5F)});
  out.push_back({"few values, each many times", numbers(300, 41).round()});
  at::Tensor two = at::full({700}, -kInfinity);
  for (const auto& [id, logit] : {std::pair<int64_t, float>{301, 2.0F}, {4, 1.0F}, {690, -200.0F}})
    two.data_ptr<float>()[id] = logit;
  out.push_back({"two tokens and one without weight", two});
  return out;
}

// How far the log-prob of a place is from the sampler's, whose token it must have.
double off(const Place& got, const Draw& want, const std::string& where) {
  TORCH_CHECK(got.slot.drawn == 1 && got.slot.failed == 0, "nothing was drawn: ", where);
  TORCH_CHECK(got.slot.ids[0] == want.id, "token ", got.slot.ids[0], ", not the sampler's ", want.id, ": ",
              where);
  return std::abs(got.slot.logps[0] - want.logp) / std::max(1.0F, std::abs(want.logp));
}

void check_tokens(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  checks.check("draw: the sampler's tokens, and their log-probs", 1e-6, [&](Worst& worst) {
    std::vector<Place> places;
    for (const SamplingParams& way : ways())
      for (const double u : kUniforms) places.push_back(place_of(way, u));
    Sampler sampler;
    for (const Logits& logits : all_logits(options)) {
      const int64_t n = logits.values.numel();
      const std::vector<Place> got =
          draw(call, logits.values, n, places, std::vector<int32_t>(places.size(), 0));
      for (size_t i = 0; i < places.size(); ++i) {
        const size_t way = i / kUniforms.size();
        const double u = kUniforms[i % kUniforms.size()];
        const std::string where =
            logits.name + ", way " + std::to_string(way) + ", number " + std::to_string(u);
        const auto want =
            sampler.draw({logits.values.const_data_ptr<float>(), static_cast<size_t>(n)}, ways()[way], u);
        TORCH_CHECK(want.has_value(), "the sampler draws nothing: ", where);
        worst.add(off(got[i], *want, where), where);
      }
    }
  });
}

// Rows of two logits rows: one that goes on, one that ends by its token, one by its number of tokens, one
// that is not live, one at its third token.
void check_written(const DecodeCall& call, Checks& checks) {
  checks.check("draw: what is written down otherwise than it should be", 0, [&](Worst& worst) {
    const at::Tensor logits = numbers(80, 42);
    const int64_t best[] = {logits.narrow(0, 0, 40).argmax().item<int64_t>(),
                            logits.narrow(0, 40, 40).argmax().item<int64_t>()};
    const std::vector<int32_t> from = {0, 1, 0, 1, 1};
    std::vector<Place> places(5, place_of(sampling(0), 0));
    places[1].slot.endings[kernels::kSlotEndings - 1] = static_cast<int32_t>(best[1]);
    places[2].slot.remaining = 1;
    places[3].row.live = 0;
    places[4].slot.drawn = 2;
    const std::vector<Place> got = draw(call, logits, 40, places, from);
    for (size_t i = 0; i < places.size(); ++i) {
      Place want = places[i];
      if (want.row.live != 0) {
        const auto token = static_cast<int32_t>(best[from[i]]);
        want.slot.ids[want.slot.drawn++] = token;
        --want.slot.remaining;
        want.row = {token, want.row.position + 1, want.row.table, i == 0 || i == 4 ? 1 : 0};
      }
      const bool same = std::memcmp(&got[i].row, &want.row, sizeof want.row) == 0 &&
                        std::ranges::equal(got[i].slot.ids, want.slot.ids) &&
                        got[i].slot.drawn == want.slot.drawn && got[i].slot.failed == 0 &&
                        got[i].slot.remaining == want.slot.remaining;
      worst.add(same ? 0 : 1, "row " + std::to_string(i));
    }
  });
}

void check_refused(const DecodeCall& call, Checks& checks) {
  checks.check("draw: tokens drawn from logits that are not finite", 0, [&](Worst& worst) {
    for (const SamplingParams& way : {sampling(1), sampling(0), sampling(1, 0, 0.3)}) {
      for (const auto& [at, value] :
           {std::pair<int64_t, float>{0, NAN}, {299, NAN}, {150, kInfinity}, {-1, -kInfinity}}) {
        at::Tensor logits = at < 0 ? at::full({300}, value) : numbers(300, 43);
        if (at >= 0) logits.data_ptr<float>()[at] = value;
        const Place got = draw(call, logits, 300, {place_of(way, 0.5)}, {0})[0];
        const bool refused = got.slot.failed == 1 && got.slot.drawn == 0 && got.row.live == 0;
        worst.add(refused ? 0 : 1, std::to_string(value) + " at " + std::to_string(at));
      }
    }
  });
}

}  // namespace

void check_draws(const CheckOptions& options, Checks& checks) {
  const auto call = DecodeCall::find(options, checks, "draw");
  if (!call) return;
  check_tokens(options, *call, checks);
  check_written(*call, checks);
  check_refused(*call, checks);
}

}  // namespace fulcrum::gpu_check
