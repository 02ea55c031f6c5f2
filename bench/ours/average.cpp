#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "bench/ours/device.h"
#include "bench/ours/op.h"
#include "engine/reference/parameters.h"
#include "policy/nn/device.h"

namespace fulcrum::bench {

Status average(const Json& options, const Serve& serve) {
  at::set_num_threads(options.at("threads").get<int>());
  TRY(device, device_of(options));
  TRY(model, load_model(options.at("model").get<std::string>()));
  TRY(policy, Policy::create(model, {.device = device}));
  TRY(reference, Policy::create(model, {.device = device}));
  model = {};
  {
    const at::NoGradGuard no_gradients;
    for (const auto& [name, weight] : policy->parameters()) weight.mul_(2);
  }
  double sum = 0;
  bool first = true;
  watch_memory(device);
  return serve([&]() -> Result<Json> {
    TRY_DO(mix_parameters(*reference, *policy, 0.5));
    wait_for(device);
    Json said = {{"peak_mib", peak_mib(device)}};
    if (std::exchange(first, false)) {
      for (const auto& [name, weight] : reference->parameters())
        sum += weight.detach().abs().sum(at::kDouble).item<double>();
      said["probe"] = sum;
    }
    return said;
  });
}

}  // namespace fulcrum::bench
