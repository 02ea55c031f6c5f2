#include "policy/weights/rope_frequencies.h"

#include <cmath>
#include <numbers>

namespace fulcrum {
namespace {

// Llama 3.1's scaling, as transformers' rope_type "llama3" has it: waves longer than the original context
// over low_freq_factor are slowed by `factor`, those shorter than it over high_freq_factor stay, between the
// two a linear blend.
double scaled_frequency(double frequency, const RopeScaling& s) {
  const double context = static_cast<double>(s.original_max_position_embeddings);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength > context / s.low_freq_factor) return frequency / s.factor;
  if (wavelength < context / s.high_freq_factor) return frequency;
  const double blend = (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - blend) * frequency / s.factor + blend * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const ModelSpec& spec) {
  std::vector<double> out;
  for (int64_t i = 0; i < spec.head_dim / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(spec.head_dim);
    const double frequency = std::pow(spec.rope_theta, exponent);
    out.push_back(spec.rope_scaling ? scaled_frequency(frequency, *spec.rope_scaling) : frequency);
  }
  return out;
}

}  // namespace fulcrum
