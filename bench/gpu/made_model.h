// Random models and batches for the checks, and the two ways a device computes. One thread.
#pragma once

#include <string>
#include <vector>

#include "bench/gpu/checks.h"
#include "engine/kernels/device/fallbacks.h"
#include "engine/kernels/device/table.h"
#include "engine/types/train_batch.h"
#include "policy/nn/policy.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::gpu_check {

// The value, or an exception with the message: a check has no other way to end early.
template <class T>
T need(Result<T> made) {
  TORCH_CHECK(made.ok(), made.status().message());
  return std::move(made).value();
}

struct Family {
  std::string name;
  ModelSpec spec;
};
// Llama with few key heads, many, and tied embeddings; Qwen2 with biases.
std::vector<Family> families(const CheckOptions& options);

// Weights large enough that norms, scores and log-probs are far from the trivial ones.
Model lively_model(const ModelSpec& spec);
// Groups of several completions, of one, of none and of empty ones.
TrainBatch mixed_batch(const ModelSpec& spec, const CheckOptions& options);

// One way of computing: with the device's kernels, or in LibTorch's operations alone.
struct Way {
  std::string name;
  const kernels::DeviceKernels* kernels;
};
// On the CPU one; elsewhere with the process's kernels, if it has some, and without.
std::vector<Way> ways(const CheckOptions& options);

// While one lives the process computes one way.
class Computing {
 public:
  explicit Computing(const Way& way) : before_(kernels::device_kernels()) {
    kernels::use_device_kernels(way.kernels);
  }
  ~Computing() { kernels::use_device_kernels(before_); }
  Computing(const Computing&) = delete;
  Computing& operator=(const Computing&) = delete;

 private:
  const kernels::DeviceKernels* before_;
};

// Where kernels are in use, nothing but attention may have been done without one since `before`: throws.
void require_kernels(const Way& way, const kernels::FallbackCounts& before);

// What a policy says of a batch's targets, on the CPU, and its gradients for weights that go up and down.
struct Said {
  at::Tensor logps, entropy;
  NamedTensors gradients;
};
Said say(const ModelSpec& spec, const TrainBatch& batch, const PolicyOptions& options);

}  // namespace fulcrum::gpu_check
