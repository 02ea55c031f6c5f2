#include "engine/pipeline/weight_history.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/safetensors.h"

namespace fulcrum {
namespace {

Path folder_in(const Path& checkpoint) { return checkpoint / "stale"; }

Path file_of(const Path& checkpoint, int64_t version) {
  return folder_in(checkpoint) / ("version-" + std::to_string(version) + ".safetensors");
}

Status check_shapes(const TensorMap& tensors, const ModelSpec& spec) {
  const auto expected = expected_tensors(spec);
  for (const auto& [name, shape] : expected) {
    const auto at = tensors.find(name);
    if (at == tensors.end()) return data_loss("tensor " + in_quotes(name) + " is missing");
    const DType dtype = at->second.dtype;  // as it was published
    if ((dtype != DType::kF32 && dtype != DType::kBF16) || at->second.shape != shape)
      return data_loss("tensor " + in_quotes(name) + " is of another model");
  }
  return tensors.size() == expected.size() ? ok_status()
                                           : data_loss("it has tensors the model does not have");
}

}  // namespace

void WeightHistory::add(std::shared_ptr<const WeightSet> weights) {
  std::erase_if(versions_, [&](const auto& w) { return w->version.step == weights->version.step; });
  versions_.push_back(std::move(weights));
  while (std::ssize(versions_) > max_staleness_ + 1) versions_.pop_front();
}

Status WeightHistory::save(const Path& checkpoint, int64_t step) const {
  for (const auto& weights : versions_) {
    const int64_t version = weights->version.step;
    if (version >= step || version < step - max_staleness_) continue;
    TRY_DO(make_folders(folder_in(checkpoint)));
    TRY_DO(write_safetensors(file_of(checkpoint, version), weights->tensors));
  }
  return ok_status();
}

Status WeightHistory::load(const Path& checkpoint, int64_t step, int64_t epoch, const ModelSpec& spec) {
  versions_.clear();
  for (int64_t version = std::max<int64_t>(0, step - max_staleness_); version < step; ++version) {
    const Path file = file_of(checkpoint, version);
    Result<Safetensors> read = read_safetensors(file);
    if (!read.ok()) {
      return data_loss("'max_staleness' is " + std::to_string(max_staleness_) +
                       " and weights of an older version are needed: " + read.status().message());
    }
    TRY_DO(check_shapes(read->tensors, spec).with_context(in_quotes(file.string())));
    add(std::make_shared<WeightSet>(WeightSet{
        .version = {.epoch = epoch, .step = version}, .spec = spec, .tensors = std::move(read->tensors)}));
  }
  return ok_status();
}

}  // namespace fulcrum
