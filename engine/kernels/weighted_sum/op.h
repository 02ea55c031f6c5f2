// The weighted sum of some models' numbers, for soups (engine/reference/soup.h): each in double, in the order
// of the models, beginning with the first product, and rounded to fp32 once. Called by engine/reference.
// Every number is on its own: the bits depend on nothing else. Thread-safe on disjoint outputs.
#pragma once

#include <cstdint>
#include <span>

namespace fulcrum::kernels {

// One model's numbers, and what they count.
struct WeightedInput {
  const float* x = nullptr;
  double weight = 0;
};

// out[i] = sum of weight x[i], i < n, over at least one input. False, with `out` unspecified: a number is not
// finite, one that went in or one that came out.
bool weighted_sum(std::span<const WeightedInput> inputs, int64_t n, float* out);

namespace reference {
bool weighted_sum(std::span<const WeightedInput> inputs, int64_t n, float* out);
}  // namespace reference

}  // namespace fulcrum::kernels
