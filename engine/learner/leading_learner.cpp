#include "engine/learner/leading_learner.h"

#include <cstddef>
#include <utility>

#include "engine/data/batch_message.h"

namespace fulcrum {
namespace {

constexpr const char* kState = "the state to go on from";

// The saved state's tensors without their bytes, which follow one by one.
Json layout_of(const TensorMap& tensors) {
  Json out = Json::array();
  for (const auto& [name, tensor] : tensors)
    out.push_back(
        {{"name", name}, {"dtype", std::string(dtype_name(tensor.dtype))}, {"shape", tensor.shape}});
  return out;
}

Status send_tensors(Collective& group, const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    // broadcast() leaves rank 0's bytes as they are.
    auto* bytes = const_cast<std::byte*>(tensor.bytes.data());
    TRY_DO(group.broadcast({bytes, tensor.bytes.size()}, kState));
  }
  return ok_status();
}

Result<TensorMap> receive_tensors(Collective& group, const Json& layout) {
  TensorMap out;
  for (const Json& entry : layout) {
    TensorView tensor;
    TRY(dtype, parse_dtype(entry.at("dtype").get<std::string>()));
    tensor.dtype = dtype;
    tensor.shape = entry.at("shape").get<std::vector<int64_t>>();
    auto bytes =
        std::make_shared<std::vector<std::byte>>(static_cast<size_t>(tensor.numel()) * dtype_size(dtype));
    TRY_DO(group.broadcast(*bytes, kState));
    tensor.bytes = *bytes;
    tensor.owner = std::move(bytes);
    out.emplace(entry.at("name").get<std::string>(), std::move(tensor));
  }
  return out;
}

}  // namespace

LeadingLearner::~LeadingLearner() {
  static_cast<void>(leader_->lead({{"do", command::kForget}}, [] { return ok_status(); }));
}

// A stop that this rank was not asked for comes from another one.
template <class Run>
auto LeadingLearner::lead_batch(const char* name, const TrainBatch& batch, const std::stop_token& stop,
                                Run&& run) -> decltype(run()) {
  auto out = leader_->lead({{"do", name}, {"batch", batch_message(batch)}}, std::forward<Run>(run));
  if (out.status().code() == Code::kCancelled && !stop.stop_requested())
    static_cast<void>(leader_->tell(out.status()));
  return out;
}

Result<Metrics> LeadingLearner::step(TrainBatch batch, std::stop_token stop) {
  return lead_batch(command::kStep, batch, stop, [&] { return mine_->step(std::move(batch), stop); });
}

Result<Metrics> LeadingLearner::evaluate(TrainBatch batch, std::stop_token stop) {
  return lead_batch(command::kEvaluate, batch, stop, [&] { return mine_->evaluate(std::move(batch), stop); });
}

Result<std::vector<float>> LeadingLearner::logps(const TrainBatch& batch, std::stop_token stop) {
  return lead_batch(command::kLogps, batch, stop, [&] { return mine_->logps(batch, stop); });
}

void LeadingLearner::put_objective_values(const std::string& name, std::vector<double> values) {
  // If the group is broken the next call says so.
  static_cast<void>(leader_->lead({{"do", command::kValues}, {"name", name}, {"values", values}}, [&] {
    mine_->put_objective_values(name, values);
    return ok_status();
  }));
}

Status LeadingLearner::load(const LearnerState& state) {
  const Json message = {{"do", command::kLoad}, {"host", state.host}, {"tensors", layout_of(state.tensors)}};
  return leader_->lead(message, [&]() -> Status {
    TRY_DO(send_tensors(*leader_->group(), state.tensors));
    return mine_->load(state);
  });
}

Status follow_command(Learner& mine, Collective& group, const Json& message, const std::stop_token& stop) {
  const std::string name = message.value("do", "");
  if (name == command::kValues) {
    mine.put_objective_values(message.at("name").get<std::string>(),
                              message.at("values").get<std::vector<double>>());
  } else if (name == command::kLoad) {
    TRY(tensors, receive_tensors(group, message.at("tensors")));
    static_cast<void>(mine.load({.tensors = std::move(tensors), .host = message.at("host")}));
  } else {
    TRY(batch, read_batch_message(message.at("batch")));
    if (name == command::kStep) static_cast<void>(mine.step(std::move(batch), stop));
    if (name == command::kEvaluate) static_cast<void>(mine.evaluate(std::move(batch), stop));
    if (name == command::kLogps) static_cast<void>(mine.logps(batch, stop));
  }
  return group.status();
}

}  // namespace fulcrum
