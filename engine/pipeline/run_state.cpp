#include "engine/pipeline/run_state.h"

#include <limits>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/safetensors.h"

namespace fulcrum {
namespace {

constexpr const char* kTensors = "fulcrum_state.safetensors";
constexpr const char* kHost = "fulcrum_state.json";
constexpr const char* kUnrecorded = "fulcrum_unrecorded.json";

Result<Json> read_json(const Path& file) {
  TRY(text, read_file(file));
  Result<Json> json = parse_json(text);
  if (!json.ok()) return json.status().with_context(in_quotes(file.string()));
  return json;
}

// Means come back as they were written; one that was not finite stands there as null.
Metrics metrics_of(const Json& json) {
  Metrics out;
  for (const auto& [name, value] : json.items()) {
    add_metric(out, name, value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  return out;
}

}  // namespace

Json metrics_json(const Metrics& metrics) {
  Json out = Json::object();
  for (const auto& [name, m] : metrics) out[name] = m.mean();
  return out;
}

Status write_run_state(const Path& checkpoint, int64_t step, const RunState& state) {
  const LearnerState learner = state.learner.save();
  TRY_DO(write_safetensors(checkpoint / kTensors, learner.tensors));
  TRY_DO(write_file_atomic(checkpoint / kHost, dump_json(learner.host, 1)));
  TRY_DO(state.history.save(checkpoint, step));
  if (!state.unrecorded) return ok_status();
  return write_file_atomic(checkpoint / kUnrecorded, dump_json(metrics_json(*state.unrecorded), 1));
}

Status read_run_state(const Path& checkpoint, int64_t step, int64_t epoch, const RunState& state) {
  TRY(tensors, read_safetensors(checkpoint / kTensors));
  TRY(host, read_json(checkpoint / kHost));
  const Status loaded = state.learner.load({.tensors = std::move(tensors.tensors), .host = std::move(host)});
  if (!loaded.ok()) return loaded.with_context(in_quotes(checkpoint.string()));
  if (state.learner.steps_done() != step) {
    return data_loss(in_quotes(checkpoint.string()) + " holds a learner of step " +
                     std::to_string(state.learner.steps_done()));
  }
  TRY_DO(state.history.load(checkpoint, step, epoch, state.learner.spec()));
  std::error_code ignored;
  if (!std::filesystem::exists(checkpoint / kUnrecorded, ignored)) return ok_status();
  TRY(unrecorded, read_json(checkpoint / kUnrecorded));
  state.unrecorded = metrics_of(unrecorded);
  return ok_status();
}

}  // namespace fulcrum
