// `fulcrum plan JOB.json`: how much memory a job will take and how long a step of it, before it is run.
#include <cstdio>

#include "engine/cli/engine/plan/calibrate.h"
#include "engine/cli/engine/verbs.h"
#include "engine/cli/table.h"
#include "engine/cli/threads.h"
#include "engine/core/cores.h"
#include "engine/core/memory.h"
#include "engine/core/text.h"
#include "engine/kernels/device/driver.h"
#include "engine/pipeline/job.h"
#include "engine/pipeline/plan/memory.h"
#include "engine/pipeline/plan/time.h"
#include "policy/nn/device.h"
#include "policy/text/model_tokenizer.h"
#include "rollout/generation_device.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string job, format = "table";
  std::vector<std::string> set;
  int64_t completion_length = 0, threads = 0;
  std::string device;
};

struct Plan {
  MemoryPlan memory;
  TimePlan time;
  FreeMemory free;
  int64_t gpu_memory = 0;
};

// The step to measure is the first; the one to hold in memory is the largest.
Result<Plan> make_plan(const Options& o) {
  const ProcessMemory start = process_memory();
  TRY(config, load_job(o.job, o.set));
  use_threads(config, o.threads);
  use_device(config, o.device);
  config.learner.threads = within_cores(config.learner.threads, "'threads'");
  config.sampling.rollout_threads = within_cores(config.sampling.rollout_threads, "'rollout_threads'");
  TRY(objective, make_objective(config.objective));
  TRY(model, load_model(config.model_name_or_path));
  TRY(tokenizer, load_tokenizer_of(model, config.tokenizer, {.splitter = config.splitter}));
  TRY(data, Dataset::open(train_data(config), *tokenizer, model.spec.vocab_size));
  const ProcessMemory read = process_memory();
  const Needs needs = objective->needs();
  if (needs.scores) model = as_score_model(std::move(model));
  const int64_t length =
      o.completion_length > 0 ? o.completion_length : config.sampling.max_completion_length;
  TRY(device, open_device(config.learner.device));
  TRY(generation, generation_device(config.online() ? config.sampling.rollout_device : "cpu"));
  const auto work_of = [&](const std::vector<const DataRow*>& rows, int64_t completion) {
    Workload work = workload_of(config, model.spec, needs, rows, completion);
    work.on_device = !device.is_cpu();
    work.generates_on_device = generation.kernels != nullptr;
    return work;
  };
  const Workload first = work_of(data.step_rows(0, config.data.prompts_per_step), length);
  TRY(speeds, calibrate(first, *objective));
  Plan out{.time = plan_time(first, speeds), .free = free_memory()};
  if (device.is_cuda() || generation.kernels != nullptr) {
    TRY(own, kernels::own_gpu());
    out.gpu_memory = own.gpu.memory;
  }
  // Pages of the program and its libraries are those that the calibration has touched.
  const MemoryBase base{
      .process = start.anonymous + process_memory().files,
      .data = read.anonymous - start.anonymous,
      .model_file = parameter_count(model.spec) * static_cast<int64_t>(dtype_size(model.spec.dtype))};
  out.memory = plan_memory(work_of(largest_step(config, data), length), base);
  return out;
}

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string time_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, seconds < 1 ? "%.0f ms" : "%.3g s",
                seconds < 1 ? 1000 * seconds : seconds);
  return text;
}

Table table_of(const Plan& plan) {
  Table table{{"part", "MiB", "at_peak", "on", "seconds", "what"}, {}};
  const auto place_name = [](Place place) { return place == Place::kHost ? "host" : "gpu"; };
  for (const MemoryPart& part : plan.memory.parts) {
    table.rows.push_back({{"part", part.name},
                          {"MiB", mib(part.bytes)},
                          {"at_peak", at_peak(plan.memory, part) ? "yes" : "no"},
                          {"on", place_name(part.place)},
                          {"what", part.keys}});
  }
  for (const Place place : {Place::kHost, Place::kDevice}) {
    const MemoryPeak& peak = plan.memory.peak(place);
    if (peak.bytes == 0) continue;
    table.rows.push_back({{"part", place == Place::kHost ? "peak memory" : "peak memory of the gpu"},
                          {"MiB", mib(peak.bytes)},
                          {"on", place_name(place)},
                          {"what", phase_name(peak.phase)}});
  }
  for (const TimePart& part : plan.time.parts)
    table.rows.push_back({{"part", part.stage}, {"seconds", part.seconds}, {"what", part.what}});
  table.rows.push_back({{"part", "step"}, {"seconds", plan.time.step}});
  return table;
}

// Says where a place's peak is above what it has.
void complain(const MemoryPlan& plan, Place place, int64_t has, const std::string& where) {
  if (plan.peak(place).bytes <= has) return;
  std::fprintf(stderr, "fulcrum: it does not fit the %s %s: %s\n", size_text(has).c_str(), where.c_str(),
               memory_advice(plan, place).c_str());
}

Status plan(const Options& o) {
  TRY(made, make_plan(o));
  std::fputs(render(table_of(made), o.format).c_str(), stdout);
  complain(made.memory, Place::kHost, made.free.bytes, "free " + made.free.because);
  const bool on_gpu = made.memory.device.bytes > 0;
  if (on_gpu) complain(made.memory, Place::kDevice, made.gpu_memory, "of the GPU");
  if (o.format != "table") return ok_status();
  std::printf("\npeak memory about %s%s, a step about %s\n", size_text(made.memory.host.bytes).c_str(),
              on_gpu ? (" and " + size_text(made.memory.device.bytes) + " of the GPU").c_str() : "",
              time_text(made.time.step).c_str());
  return ok_status();
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "plan", "predict a job's peak memory and the time of a step",
      [](const Options& o) { return report(plan(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("job", o.job, "the job file")->required();
        v.add_option("--set", o.set, "override a key: a.b=value");
        v.add_option("--completion-length", o.completion_length,
                     "tokens a completion will have on average (default: max_completion_length)")
            ->check(CLI::Range(1, 1 << 30));
        add_threads_option(v, o.threads, "as `run` takes it");
        add_device_option(v, o.device);
        add_output_option(v, o.format);
      });
}

}  // namespace fulcrum::cli
