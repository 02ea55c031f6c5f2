#include "rollout/make_generator.h"

#include <utility>

#include "rollout/device_generator.h"
#include "rollout/generator.h"

namespace fulcrum {

Result<GeneratingModel> make_generating_model(const ModelSpec& spec, const TensorMap& tensors, DType dtype,
                                              const GeneratorOptions& options) {
  GeneratingModel model;
  if (const kernels::DecodeKernels* kernels = options.device.kernels; kernels != nullptr) {
    TRY(on_device, DeviceModel::create(spec, tensors, dtype, *kernels, options.device.device));
    model.on_device = std::move(on_device);
  } else {
    TRY(on_cpu, DecodeModel::create(spec, tensors, dtype));
    model.on_cpu = std::move(on_cpu);
  }
  return model;
}

std::unique_ptr<CompletionGenerator> make_generator(const GeneratingModel& model,
                                                    std::shared_ptr<const Tokenizer> tokenizer,
                                                    const GeneratorOptions& options) {
  if (model.on_device != nullptr)
    return std::make_unique<DeviceGenerator>(model.on_device, std::move(tokenizer), options);
  return std::make_unique<Generator>(model.on_cpu, std::move(tokenizer), options);
}

}  // namespace fulcrum
