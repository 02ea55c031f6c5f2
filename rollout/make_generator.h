// The model and the generator of wherever the options let completions be generated: this machine's cores, or
// an accelerator. Called by LocalRollout. Thread-safe.
#pragma once

#include <memory>

#include "engine/core/status.h"
#include "policy/decode/decode_model.h"
#include "policy/decode/device/device_model.h"
#include "policy/text/tokenizer.h"
#include "rollout/completion_generator.h"

namespace fulcrum {

// One of the two.
struct GeneratingModel {
  std::shared_ptr<const DecodeModel> on_cpu;
  std::shared_ptr<const DeviceModel> on_device;
};

// `dtype`, tensors and errors: DecodeModel::create; kResourceExhausted where the accelerator's memory is
// short.
Result<GeneratingModel> make_generating_model(const ModelSpec& spec, const TensorMap& tensors, DType dtype,
                                              const GeneratorOptions& options);

// Of a model that was made with the same options.
std::unique_ptr<CompletionGenerator> make_generator(const GeneratingModel& model,
                                                    std::shared_ptr<const Tokenizer> tokenizer,
                                                    const GeneratorOptions& options);

}  // namespace fulcrum
