// One version of the policy's weights on its way to those who generate: from the pipeline through a
// WeightPublisher, and on the worker's side from the wire to the model. Shared, never changed.
#pragma once

#include <memory>

#include "engine/publish/flat_weights.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

struct WeightSet {
  PolicyVersion version;
  ModelSpec spec;
  TensorMap tensors;  // fp32; of a job that generates in bf16 they may be rounded to it
  // Where the tensors are rounded and stand side by side; null: they do not.
  std::shared_ptr<const FlatWeights> flat = nullptr;
};

}  // namespace fulcrum
