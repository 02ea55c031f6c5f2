// One step of AdamW in one pass over the numbers: gradient, moments and weights are read once, moments and
// weights written once, and the factor that clips the gradient is applied on the way (Loshchilov & Hutter,
// "Decoupled Weight Decay Regularization", 2019, algorithm 2). Called by engine/learner/adamw.cpp. Every
// number is on its own: the bits depend on nothing else. Thread-safe on disjoint ranges.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

struct AdamwStep {
  float beta1, beta2, epsilon;
  float rate;            // the learning rate over 1 - beta1^t
  float kept;            // 1 - the learning rate times the weight decay
  float root;            // sqrt(1 - beta2^t)
  float gradient_scale;  // what the gradient is multiplied by first
};

// With g the scaled gradient: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
// w = kept w - rate m / (sqrt(v) / root + epsilon).
void adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
           float* second);

namespace reference {
void adamw(const AdamwStep& step, const float* gradient, int64_t n, float* weights, float* first,
           float* second);
}  // namespace reference

}  // namespace fulcrum::kernels
