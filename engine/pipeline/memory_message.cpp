#include "engine/pipeline/memory_message.h"

#include <string_view>
#include <utility>

#include "engine/core/memory.h"
#include "engine/pipeline/plan/memory.h"
#include "engine/pipeline/plan/workload.h"
#include "policy/nn/device.h"
#include "policy/text/model_tokenizer.h"

namespace fulcrum {
namespace {

bool says(const Status& status, std::string_view words) {
  return status.message().find(words) != std::string::npos;
}

// A full disk and a judge that is down are kResourceExhausted, too; what lacks memory says so
// (policy/nn/torch_errors.h, policy/decode/device/memory.h, rollout/completion_book.h).
bool lacks_memory(const Status& status) {
  return status.code() == Code::kResourceExhausted && says(status, "memory");
}

bool lacks_memory_of_a_device(const Status& status) {
  return says(status, "the device's memory") || says(status, "the accelerator");
}

Result<MemoryPlan> plan_of(const JobConfig& config, const ModelSpec& spec, const Dataset& train,
                           bool generates_on_device) {
  TRY(device, open_device(config.learner.device));
  TRY(objective, make_objective(config.objective));
  Workload work = workload_of(config, spec, objective->needs(), largest_step(config, train),
                              config.sampling.max_completion_length);
  work.on_device = !device.is_cpu();
  work.generates_on_device = generates_on_device;
  return plan_memory(work, {.process = process_memory().files, .data = 0, .model_file = 0});
}

Result<MemoryPlan> plan_of_unbuilt(const JobConfig& config) {
  TRY(model, load_model(config.model_name_or_path));
  TRY(tokenizer, load_tokenizer_of(model, config.tokenizer, {.splitter = config.splitter}));
  TRY(train, Dataset::open(train_data(config), *tokenizer, model.spec.vocab_size));
  return plan_of(config, model.spec, train, false);
}

}  // namespace

Status with_plan(Status status, const JobConfig& config, const BuiltJob* job) {
  if (!lacks_memory(status)) return status;
  const Result<MemoryPlan> plan =
      job != nullptr ? plan_of(job->config, job->learner->spec(), job->train, job->backend.on_device)
                     : plan_of_unbuilt(config);
  if (!plan.ok()) return status;
  const bool on_device = plan->device.bytes > 0 && lacks_memory_of_a_device(status);
  const Place place = on_device ? Place::kDevice : Place::kHost;
  const MemoryPeak& peak = plan->peak(place);
  return resource_exhausted(status.message() + "; the plan of this job has " + size_text(peak.bytes) + " " +
                            phase_name(peak.phase) + ": " + memory_advice(*plan, place));
}

}  // namespace fulcrum
